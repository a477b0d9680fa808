"""A real RabbitMQ of our own: private ports, private directory, no service of the machine."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from ports import free_port
from servers import require
from waiting import until


USER = "crossdock"
PASSWORD = "crossdock"


class RabbitMQ:
    """A broker that can be stopped, killed and started again with the same data and port.

    ``settings`` are lines of rabbitmq.conf, and ``terms`` its own whole numbers, also those that
    rabbitmq.conf does not know; with ``metrics`` it serves those of its queues.
    """

    def __init__(
        self, directory: Path, settings: str = "", *, metrics: bool = False, **terms: int
    ) -> None:
        # The wrapper in /usr/sbin insists on the machine's own user and directories.
        self._program = require("rabbitmq-server", "/usr/lib/rabbitmq/bin")
        self._directory = directory
        self.port, distribution, self._epmd_port = free_port(), free_port(), free_port()
        directory.mkdir(parents=True, exist_ok=True)
        self._metrics_port = free_port()
        plugins = "rabbitmq_prometheus" if metrics else ""
        (directory / "enabled_plugins").write_text(f"[{plugins}].")
        (directory / "rabbitmq.conf").write_text(
            f"{settings}\n"
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"default_user = {USER}\ndefault_pass = {PASSWORD}\n"
            "log.console = false\n"
            + f"prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {self._metrics_port}\n"
            * metrics
        )
        own = ", ".join(f"{{{name}, {value}}}" for name, value in terms.items())
        (directory / "advanced.config").write_text(f"[{{rabbit, [{own}]}}].\n")
        self._environment = {
            "HOME": str(directory),
            "PATH": f"{Path(self._program).parent}:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": f"crossdock{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "rabbit.pid"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/"

    @property
    def metrics(self) -> str:
        """What it shows to Prometheus, if it was made with ``metrics``."""
        return httpx.get(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=60).text

    def start(self, *, wait: bool = True) -> None:
        epmd = shutil.which("epmd") or "/usr/bin/epmd"
        if self._epmd is None:
            # Started here so that it can be stopped here: the server would leave it running.
            self._epmd = self._spawn([epmd, "-port", str(self._epmd_port)])
        self._server = self._spawn([self._program])
        if wait:
            until(lambda: _answers(self.port), what="RabbitMQ answers")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(self._server, signal.SIGKILL)
        self._server = None

    def stop(self) -> None:
        """End it and what it started; its data go with the directory."""
        self.kill()
        self._end(self._epmd, signal.SIGKILL)
        self._epmd = None

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self._directory / "server.out").open("ab") as output:
            return subprocess.Popen(
                command,
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _end(self, process: subprocess.Popen[bytes] | None, how: signal.Signals) -> None:
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, how)
            process.wait(60)


@contextmanager
def rabbitmq(
    directory: Path, settings: str = "", *, metrics: bool = False, **terms: int
) -> Iterator[RabbitMQ]:
    """Run a RabbitMQ whose data are in ``directory``; ready when the block begins."""
    server = RabbitMQ(directory, settings, metrics=metrics, **terms)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _answers(port: int) -> bool:
    """Whether somebody speaks AMQP there: a wrong greeting is answered with the right one."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"AMQP\x00\x00\x00\x00")
            return connection.recv(8).startswith(b"AMQP")
    except OSError:
        return False
