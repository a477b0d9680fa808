"""The one place that speaks HTTP: connections that are kept, and requests that say how they ended."""

import contextlib
import ssl
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from crossdock import __version__
from crossdock.config.targets.dicomweb import ClientCredentials, DicomwebTarget
from crossdock.dicom.errors import TlsMisconfigured
from crossdock.dicom.tls import TlsFiles, own_client_context
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.pace import UNLIMITED, Pace
from crossdock.protocols.dicomweb.failures import Answer, of_transport
from crossdock.protocols.dicomweb.login import Headers, Login, revealed
from crossdock.protocols.dicomweb.multipart import Multipart
from crossdock.protocols.web.attempts import Attempts, Trace


JSON = "application/dicom+json"
REPORT = f"{JSON}, application/dicom+xml;q=0.5"
"""What a request asks for: reports in JSON, from old servers in XML."""

_LONGEST_ANSWER = 64 * 1024  # bytes, and more for each instance that is asked about
_PER_INSTANCE = 8 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the server."""

    method: str
    url: str
    accept: str = REPORT
    body: Multipart | bytes | None = None
    content_type: str = ""
    instances: int = 1

    @property
    def longest_answer(self) -> int:
        """Bytes of an answer that are read; a longer one is of no use."""
        return _LONGEST_ANSWER + _PER_INSTANCE * self.instances


class Client:
    """Makes requests, also from several threads; connections are opened as they are needed.

    Requests side by side have a connection each, with HTTP/2 too: uploads that share one can wait
    for each other for ever in httpcore 1.0.
    """

    def __init__(self, target: DicomwebTarget, pace: Pace = UNLIMITED) -> None:
        self._target = target
        self._pace = pace
        self.login = Login(target, self._post_form)
        self._context: ssl.SSLContext | None = None
        self._idle: list[httpx.Client] = []
        self._lock = threading.Lock()
        self._closed = False
        self._attempts = Attempts()

    def request(self, request: Request) -> Answer:
        """Return what the server answers; a token that it does not take any more is renewed once.

        Raises:
            DeliveryError: there is no answer.
            PartDamaged: a part of the body cannot be read.
            Interrupted: by ``interrupt``.
        """
        shown = self.login.headers()
        answer = self._attempt(request, shown)
        if answer.status == 401 and self.login.renew(shown):  # noqa: PLR2004 — RFC 9110 15.5.2
            answer = self._attempt(request, self.login.headers())
        return answer

    def interrupt(self) -> None:
        """Make the requests that run in other threads end soon."""
        self._attempts.interrupt()

    def close(self) -> None:
        """Close all connections, those that are in use as soon as they are not."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for http in idle:
            http.close()

    def _attempt(self, request: Request, login: Headers) -> Answer:
        try:
            return self._attempts.make(lambda trace: self._exchange(request, login, trace))
        except httpx.HTTPError as error:
            raise of_transport(error, _place(request.url)) from error

    def _exchange(self, request: Request, login: Headers, trace: Trace) -> Answer:
        headers: dict[str, str | bytes] = {"Accept": request.accept, "Accept-Encoding": "identity"}
        content: Iterator[bytes] | bytes | None = None
        if isinstance(request.body, Multipart):
            content = self._pace.through(request.body.blocks(self._attempts.go_on))
            headers["Content-Length"] = str(request.body.length)
            headers["Content-Type"] = request.body.content_type
        elif request.body is not None:
            content = request.body
            headers["Content-Type"] = request.content_type
        with (
            self._borrowed() as http,
            http.stream(
                request.method,
                request.url,
                headers=[*_encoded(headers), *_encoded(login)],
                content=content,
                extensions={"trace": trace},
            ) as response,
        ):
            return _answer(response, request.longest_answer)

    def _post_form(self, settings: ClientCredentials, form: bytes, login: Headers) -> Answer:
        """Post a form to a token server, over a connection of its own."""
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        context = _context_for(settings.token_url, TlsFiles(ca=settings.ca))
        try:
            with (
                _http_client(self._target, context) as http,
                http.stream(
                    "POST",
                    settings.token_url,
                    headers=[*_encoded(headers), *_encoded(login)],
                    content=form,
                ) as response,
            ):
                return _answer(response, _LONGEST_ANSWER * 4)
        except httpx.HTTPError as error:
            raise of_transport(error, f"token server {_place(settings.token_url)}") from error

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[httpx.Client]:
        """Lend a connection that nobody else uses meanwhile."""
        with self._lock:
            if self._context is None:
                self._context = _context_for(self._target.url, tls_files(self._target))
            http = self._idle.pop() if self._idle else _http_client(self._target, self._context)
        try:
            yield http
        finally:
            with self._lock:
                keep = not self._closed
                if keep:
                    self._idle.append(http)
            if not keep:
                http.close()


def tls_files(target: DicomwebTarget) -> TlsFiles:
    """Return what TLS to a target needs."""
    return target.tls.files() if target.tls is not None else TlsFiles()


def secure_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a TLS context.

    Raises:
        DeliveryError: one of our files is of no use.
    """
    try:
        return own_client_context(files)
    except TlsMisconfigured as error:
        detail = f"TLS: {error}"
        raise DeliveryError(ErrorKind.MISCONFIGURED, detail, temporary=False) from error


def _context_for(url: str, files: TlsFiles) -> ssl.SSLContext:
    if urlsplit(url).scheme == "https":
        return secure_context(files)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not used, and cheap: it knows no CAs


def _http_client(target: DicomwebTarget, context: ssl.SSLContext) -> httpx.Client:
    """Return a client that follows no redirects and knows nothing of the environment.

    Raises:
        DeliveryError: the proxy's password cannot be had.
    """
    return httpx.Client(
        verify=context,
        http2=target.http2,
        proxy=_proxy(target),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(target.timeout, connect=target.connect_timeout, pool=None),
        limits=httpx.Limits(max_connections=1),
        headers={"User-Agent": f"Crossdock/{__version__}"},
    )


def _proxy(target: DicomwebTarget) -> httpx.Proxy | None:
    proxy = target.proxy
    if proxy is None:
        return None
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    login = (proxy.user, revealed(proxy.password)) if proxy.password is not None else None
    return httpx.Proxy(f"http://{host}:{proxy.port}", auth=login)


def _encoded(
    headers: dict[str, str | bytes] | Headers | dict[str, str],
) -> list[tuple[bytes, bytes]]:
    return [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in headers.items()
    ]


def _answer(response: httpx.Response, longest: int) -> Answer:
    return Answer(
        status=response.status_code,
        media_type=response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
        retry_after=response.headers.get("Retry-After", ""),
        location=response.headers.get("Location", ""),
        body=_body(response, longest),
    )


def _body(response: httpx.Response, longest: int) -> bytes | None:
    body = bytearray()
    for block in response.iter_raw():
        body += block
        if len(body) > longest:
            return None
    match response.headers.get("Content-Encoding", "identity").strip().lower():
        case "identity" | "":
            return bytes(body)
        case "gzip":  # some proxies do so unasked
            with contextlib.suppress(zlib.error):
                return zlib.decompressobj(31).decompress(bytes(body), longest)
    return None


def _place(url: str) -> str:
    """Return the host and port of a URL for people."""
    found = urlsplit(url)
    port = found.port or {"http": 80, "https": 443}[found.scheme]
    return f"{found.hostname} port {port}"
