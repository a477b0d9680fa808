"""The ``crossdock`` command: one file per group of subcommands, put together in ``main``."""
