"""How requests get to a store: with our TLS, no needless round trips, and one try each."""

import socket
import ssl
import threading
from functools import cache
from http import HTTPStatus
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from botocore.loaders import Loader, create_loader
from botocore.session import Session
from botocore.utils import get_environ_proxies

from crossdock import __version__
from crossdock.config.targets import S3Target
from crossdock.dicom.tls import TlsFiles, own_client_context
from crossdock.protocols.s3.body import Body


_creating = threading.Lock()  # botocore makes one client at a time


def tls_context(target: S3Target) -> ssl.SSLContext:
    """Return a TLS context for a store; its certificate is always verified.

    Raises:
        TlsMisconfigured: the ca cannot be used.
    """
    return own_client_context(TlsFiles(ca=target.ca))


class Transport(URLLib3Session):
    """Sends requests as botocore does, but trusts whom our other targets trust.

    botocore asks before each object whether it may send it, which takes a round trip, and a second
    where a store does not answer such questions. That is done only until the store has taken an
    object: it may refuse and hang up at once, and the reason would be lost.
    """

    def __init__(self, target: S3Target) -> None:
        self._context = tls_context(target) if target.url.startswith("https:") else None
        self._taking = False
        super().__init__(
            proxies=get_environ_proxies(target.url),
            timeout=(target.connect_timeout, target.timeout),
            max_pool_connections=2 * target.transfers + 1,
            socket_options=[
                (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            ],
        )

    def answer(self, request: AWSPreparedRequest, **_event: object) -> AWSResponse:
        """Send a request and return its answer, in place of the client's own session."""
        if self._taking and "Expect" in request.headers:
            del request.headers["Expect"]
        if isinstance(request.body, Body):
            request.body.leaving = True
        try:
            answer: AWSResponse = self.send(request)
        except BaseException:
            self._taking = False
            raise
        finally:
            if isinstance(request.body, Body):
                request.body.leaving = False
        if request.method == "PUT":
            self._taking = answer.status_code < HTTPStatus.MULTIPLE_CHOICES
        return answer

    def _get_ssl_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = self._context or super()._get_ssl_context()
        return context

    def _setup_ssl_cert(self, conn: Any, url: str, verify: object) -> None:
        super()._setup_ssl_cert(conn, url, verify)
        if self._context is not None:
            conn.ca_certs = None  # the context knows whom to trust, and it is not certifi's list


def make_client(target: S3Target, transport: Transport) -> Any:
    """Return a botocore client for a target, which sends by ``transport``.

    Raises:
        SecretUnavailable: the secret key cannot be had here.
        BotoCoreError: the settings of the environment are of no use.
    """
    session = Session()
    session.register_component("data_loader", _loader())
    secret = target.secret_key.reveal() if target.secret_key is not None else None
    with _creating:
        client = session.create_client(
            "s3",
            region_name=target.region,
            endpoint_url=target.url,
            aws_access_key_id=target.access_key,
            aws_secret_access_key=secret,
            config=_config(target),
        )
    client.meta.events.register("before-send.s3", transport.answer)
    return client


def _config(target: S3Target) -> Config:
    return Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if target.in_path else "virtual"},
        retries={"total_max_attempts": 1},
        # What botocore would add by itself breaks stores that do not know it; we send MD5.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        parameter_validation=False,
        user_agent=f"crossdock/{__version__}",
    )


@cache
def _loader() -> Loader:
    """Return what reads botocore's descriptions of services: once, as that takes long."""
    loader: Loader = create_loader()
    return loader
