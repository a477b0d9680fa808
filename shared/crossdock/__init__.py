"""Crossdock, the library that the services share.

Who may live here: what two services use. Everything else belongs to one service.
"""

__version__ = "0.1.0"
