"""The one place that speaks HTTP: one session at the server, over connections that are kept."""

import contextlib
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import quote

import httpx

from crossdock import __version__
from crossdock.config.targets import XnatTarget
from crossdock.dicom.errors import TlsMisconfigured
from crossdock.dicom.tls import TlsFiles, own_client_context
from crossdock.errors import ErrorKind, SecretUnavailable
from crossdock.pace import UNLIMITED, Pace
from crossdock.protocols.failures import TargetFailed
from crossdock.protocols.web.attempts import Attempts, Trace
from crossdock.protocols.xnat.answers import Answer, failed
from crossdock.protocols.xnat.bodies import Body
from crossdock.protocols.xnat.failures import translated, untrusted


_SESSION = "/data/JSESSION"
_SESSION_ID = re.compile(r"[0-9A-Za-z._-]{16,128}")
_SET_SESSION = re.compile(r"(?:^|,\s*)JSESSIONID=([^;,\s]*)")
_LONGEST_TEXT = 64 * 1024  # bytes of an answer
_LONGEST_LIST = 32 * 1024 * 1024
_LOGOUT_SECONDS = 3.0


def tls_context(target: XnatTarget) -> ssl.SSLContext:
    """Return a TLS context for a target.

    Raises:
        TargetFailed: one of its files is of no use.
    """
    try:
        return own_client_context(target.tls.files() if target.tls is not None else TlsFiles())
    except TlsMisconfigured as error:
        raise untrusted(str(error)) from error


def path_of(*parts: str) -> str:
    """Return the path of a resource below /data."""
    return "/data/" + "/".join(quote(part, safe="") for part in parts)


class Client:
    """Makes requests in one session of XNAT's. May be used by several threads.

    The session is opened when it is needed, and anew when the server has forgotten it.

    Raises:
        TargetFailed: by all methods but ``close``: there is no answer, or none that XNAT gives.
    """

    def __init__(self, target: XnatTarget, pace: Pace = UNLIMITED) -> None:
        self._target = target
        self._pace = pace
        self._session: str | None = None
        self._opening = threading.Lock()
        self._attempts = Attempts()
        # A context is not used without TLS, and cheap as long as it knows no CAs.
        context = tls_context(target) if target.secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http = httpx.Client(
            base_url=target.url,
            verify=context,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # ours is set by hand
            follow_redirects=False,
            timeout=httpx.Timeout(target.timeout, connect=target.connect_timeout, pool=None),
            limits=httpx.Limits(max_connections=target.transfers + 1, keepalive_expiry=60),
            headers={"User-Agent": f"Crossdock/{__version__}", "Accept-Encoding": "identity"},
        )

    def log_in(self) -> None:
        """Have a session; nothing is asked where there is one."""
        self._have_session(None)

    def ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, *, long: bool = False
    ) -> Answer:
        """Return the answer to a request without a body; ``long`` if it may be a list."""
        return self._in_session(method, path, query or {}, None, long=long)

    def post(self, path: str, query: Mapping[str, str], body: Body) -> Answer:
        """Return the answer to a body.

        Raises:
            SpoolUnreadable: the body cannot be read.
            Interrupted: by ``interrupt``.
        """
        return self._in_session("POST", path, query, body)

    def interrupt(self) -> None:
        """Make the requests that run in other threads end soon; the client is of no use after."""
        self._attempts.interrupt()

    def close(self) -> None:
        """End the session, if the server still listens, and all connections."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(httpx.HTTPError):  # XNAT forgets it by itself
                headers = {"Cookie": f"JSESSIONID={session}"}
                self._http.delete(_SESSION, headers=headers, timeout=_LOGOUT_SECONDS)
        self._http.close()

    def _in_session(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Body | None,
        *,
        long: bool = False,
    ) -> Answer:
        session = self._have_session(None)
        answer = self._attempt(method, path, query, body, session, long=long)
        # Where guests are let in, a session that is over shows only by the one that replaces it.
        if answer.wants_login or answer.session not in ("", session):
            session = self._have_session(session)
            answer = self._attempt(method, path, query, body, session, long=long)
            if answer.wants_login:
                raise failed(answer, path.rpartition("/")[2] if body else "request")
        return answer

    def _have_session(self, old: str | None) -> str:
        """Return the ID of a session other than ``old``, which the server does not know."""
        with self._opening:
            if self._session is None or self._session == old:
                self._session = None
                self._session = self._open_session()
            return self._session

    def _open_session(self) -> str:
        login = httpx.BasicAuth(self._target.user, self._password())
        answer = self._attempt("POST", _SESSION, {}, None, None, login=login)
        if not answer.good:
            raise failed(answer, "login")
        session = answer.text.strip()
        if not _SESSION_ID.fullmatch(session):
            found = f"login: {answer.words}, but no session: what answers there is no XNAT"
            advice = "correct the url: it is that of XNAT's start page"
            raise TargetFailed(ErrorKind.MISCONFIGURED, found, advice)
        return session

    def _password(self) -> str:
        try:
            return self._target.password.reveal()
        except SecretUnavailable as error:
            advice = "have the secret where the dispatcher and the tester can read it"
            raise TargetFailed(ErrorKind.MISCONFIGURED, str(error), advice) from error

    def _attempt(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Body | None,
        session: str | None,
        *,
        login: httpx.Auth | None = None,
        long: bool = False,
    ) -> Answer:
        def exchange(trace: Trace) -> Answer:
            request = self._request(method, path, query, body, session)
            request.extensions["trace"] = trace
            return self._exchange(request, login, _LONGEST_LIST if long else _LONGEST_TEXT)

        try:
            return self._attempts.make(exchange)
        except httpx.HTTPError as error:
            raise translated(error, self._target) from error

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Body | None,
        session: str | None,
    ) -> httpx.Request:
        headers = {"Cookie": f"JSESSIONID={session}"} if session else {}
        content: Iterator[bytes] | None = None
        if body is not None:
            headers |= {"Content-Type": body.content_type, "Content-Length": str(body.length)}
            content = self._watched(body)
        return self._http.build_request(
            method, path, params=query, headers=headers, content=content
        )

    def _exchange(self, request: httpx.Request, login: httpx.Auth | None, most: int) -> Answer:
        response = self._http.send(request, stream=True, auth=login or httpx.Auth())
        with contextlib.closing(response):
            return _answer(response, most)

    def _watched(self, body: Body) -> Iterator[bytes]:
        for block in self._pace.through(body.blocks()):
            self._attempts.go_on()
            yield block


def _answer(response: httpx.Response, most: int) -> Answer:
    said = response.headers
    body = bytearray()
    for block in response.iter_raw():
        body += block
        if len(body) > most:
            break
    text = bytes(body[:most]).decode(errors="replace")
    if response.is_error:  # XNAT's own words are in the status line, or in the page
        text = f"{response.reason_phrase}\n{text}"
    cookie = _SET_SESSION.search(said.get("Set-Cookie", ""))
    return Answer(
        status=response.status_code,
        session=cookie[1] if cookie else "",
        media_type=said.get("Content-Type", "").partition(";")[0].strip().lower(),
        location=said.get("Location", ""),
        retry_after=said.get("Retry-After", ""),
        text=text,
    )
