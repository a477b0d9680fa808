"""What a request shows of who we are, and the tokens that this may take."""

import base64
import json
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus, urlencode

from crossdock.config.secret import SecretValue
from crossdock.config.targets.dicomweb import ClientCredentials, DicomwebTarget
from crossdock.errors import DeliveryError, ErrorKind, SecretUnavailable
from crossdock.protocols.dicomweb.failures import Answer, of_answer


Headers = dict[str, bytes]
PostForm = Callable[[ClientCredentials, bytes, Headers], Answer]
"""Posts a form to a token server, or raises ``DeliveryError``."""

_SERVICE = "token server"
_EARLY = 30.0  # seconds before it expires, or half its life: a token is renewed
_LONGEST_TOKEN = 64 * 1024
_REFUSALS = {  # RFC 6749 5.2: what it says, and whose fault it is
    "invalid_client": (ErrorKind.UNAUTHORISED, "client_id or client_secret is wrong"),
    "unauthorized_client": (ErrorKind.UNAUTHORISED, "this client may not have tokens this way"),
    "invalid_scope": (ErrorKind.MISCONFIGURED, "there is no such scope for this client"),
    "invalid_grant": (ErrorKind.UNAUTHORISED, "the client's credentials are not accepted"),
    "unsupported_grant_type": (ErrorKind.MISCONFIGURED, "it gives no tokens to clients"),
    "invalid_request": (ErrorKind.MISCONFIGURED, "it does not understand the request"),
}


class Login:
    """The headers that each request carries. Safe to use from several threads."""

    def __init__(self, target: DicomwebTarget, post_form: PostForm) -> None:
        self._target = target
        self._tokens = None
        if target.oauth2 is not None:
            self._tokens = Tokens(target.oauth2, post_form)

    @property
    def words(self) -> str:
        """How we log in, for people."""
        if self._target.basic is not None:
            return f"as {self._target.basic.user}"
        if self._target.oauth2 is not None:
            return f"with a token for {self._target.oauth2.client_id}"
        if self._target.bearer is not None:
            return "with the token"
        return "with our headers" if self._target.headers else "without a login"

    def headers(self) -> Headers:
        """Return what a request carries.

        Raises:
            DeliveryError: a secret or a token cannot be had.
        """
        found = {name: revealed(value).encode() for name, value in self._target.headers.items()}
        if self._target.basic is not None:
            password = revealed(self._target.basic.password)
            found["Authorization"] = _basic(self._target.basic.user, password)
        if self._target.bearer is not None:
            found["Authorization"] = b"Bearer " + revealed(self._target.bearer).encode()
        if self._tokens is not None:
            found["Authorization"] = b"Bearer " + self._tokens.token()
        return found

    def renew(self, refused: Headers) -> bool:
        """Whether a request that was refused with these headers may fare better with new ones."""
        if self._tokens is None:
            return False
        self._tokens.forget(refused.get("Authorization", b"").removeprefix(b"Bearer "))
        return True


class Tokens:
    """Fetches a token when it is first needed, and again before it expires."""

    def __init__(self, settings: ClientCredentials, post_form: PostForm) -> None:
        self._settings = settings
        self._post_form = post_form
        self._lock = threading.Lock()
        self._token = b""
        self._renew_at = 0.0

    def token(self) -> bytes:
        """Return a token that is good for now.

        Raises:
            DeliveryError: there is none to be had.
        """
        with self._lock:
            if not self._token or time.monotonic() >= self._renew_at:
                self._fetch()
            return self._token

    def forget(self, token: bytes) -> None:
        """Do not give out this token again."""
        with self._lock:
            if token == self._token:
                self._token = b""

    def _fetch(self) -> None:
        form = {"grant_type": "client_credentials"}
        if self._settings.scope:
            form["scope"] = self._settings.scope
        user, secret = self._settings.client_id, revealed(self._settings.client_secret)
        headers: Headers = {}
        if self._settings.credentials_in == "header":  # encoded by RFC 6749 2.3.1
            headers["Authorization"] = _basic(quote_plus(user), quote_plus(secret))
        else:
            form |= {"client_id": user, "client_secret": secret}
        self._token = b""
        answer = self._post_form(self._settings, urlencode(form).encode(), headers)
        self._keep(_document(answer), answer)

    def _keep(self, document: dict[str, Any], answer: Answer) -> None:
        token = document.get("access_token")
        if not answer.good or not isinstance(token, str) or not _is_token(token):
            raise _refused(document, answer)
        life = document.get("expires_in")
        try:
            seconds = float(life) if isinstance(life, int | float | str) else float("inf")
        except (ValueError, OverflowError):
            seconds = float("inf")
        self._token = token.encode()
        self._renew_at = time.monotonic() + max(seconds - _EARLY, seconds / 2)


def _basic(user: str, password: str) -> bytes:
    """Return the value of an Authorization header (RFC 7617)."""
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


def revealed(secret: SecretValue) -> str:
    """Return a secret that goes into a request.

    Raises:
        DeliveryError: it cannot be had, or cannot be in a header.
    """
    try:
        value = secret.reveal()
    except SecretUnavailable as error:
        raise DeliveryError(ErrorKind.MISCONFIGURED, str(error), temporary=False) from error
    if any(ord(character) < ord(" ") or character == "\x7f" for character in value):
        detail = "a secret has control characters, such as line breaks, which no header can have"
        raise DeliveryError(ErrorKind.MISCONFIGURED, detail, temporary=False)
    return value


def _document(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body or b"")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_token(token: str) -> bool:
    return bool(token) and len(token) <= _LONGEST_TOKEN and all("!" <= c <= "~" for c in token)


def _refused(document: dict[str, Any], answer: Answer) -> DeliveryError:
    said = document.get("error")
    if isinstance(said, str) and said in _REFUSALS:
        kind, words = _REFUSALS[said]
        detail = f"{_SERVICE}: {answer.words}, {said}: {words}"
        return DeliveryError(kind, detail, temporary=False)
    known = of_answer(answer, _SERVICE)
    if known is not None:
        return known
    if answer.status >= 500:  # noqa: PLR2004 — RFC 9110 15.6
        detail = f"{_SERVICE}: {answer.words}"
        return DeliveryError(ErrorKind.UNREACHABLE, detail, temporary=True)
    detail = f"{_SERVICE}: {answer.words}, and no token; is token_url right?"
    return DeliveryError(ErrorKind.MISCONFIGURED, detail, temporary=False)
