"""HTTP: the REST API under ``/api/v1``, the overview page, health and metrics."""
