"""Serves an ASGI application over HTTP, in a thread of its own."""

import socket
import threading
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI


_STOP_SECONDS = 4.0


class HttpServer:
    """An HTTP server on one address; the port is taken when it is made.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(self, app: FastAPI, host: str, port: int, stopped: Callable[[], None]) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=256)
        self._stopped = stopped
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=15,
            timeout_graceful_shutdown=2,
            limit_concurrency=200,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def address(self) -> str:
        """The HOST:PORT that it listens on; an IPv6 host is in brackets."""
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving; requests under way have two seconds to end."""
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._socket.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._stopped()
