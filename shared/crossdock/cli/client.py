"""Speaks to config-api for the command line, and says in plain words what went wrong."""

import getpass
import os
import time
from types import TracebackType
from typing import Annotated, Any, NoReturn, Self

import httpx
import typer

from crossdock.settings import API_TOKEN, given


DEFAULT_API = "http://127.0.0.1:8080"

FAILED = 1
UNREACHABLE = 3

_TAKING_SECONDS = 8.0  # a service that was not told asks every 5
_LOOK_SECONDS = 0.1
_LATE = ": configuration"

ApiUrl = Annotated[
    str, typer.Option("--api", envvar="CROSSDOCK_API", help="Where config-api answers.")
]


class Refused(Exception):  # noqa: N818 — reads as what happened
    """config-api said no; ``errors`` are (field, message)."""

    def __init__(self, status: int, detail: str, errors: list[tuple[str, str]]) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors


class Api:
    """A connection to config-api; the token comes from ``CROSSDOCK_API_TOKEN`` or its file.

    A call that is refused raises ``Refused``; one that reaches nobody ends the command with exit
    code 3.
    """

    def __init__(self, url: str, *, timeout: float = 40.0) -> None:
        headers = {"Crossdock-Actor": _actor()}
        token = _token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._url = url.rstrip("/")
        try:
            self._http = httpx.Client(
                base_url=f"{self._url}/api/v1/", headers=headers, timeout=timeout
            )
        except httpx.InvalidURL as error:
            fail(f"--api {url}: {error}", UNREACHABLE)

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        """Make a call and return the answer, which is good.

        Raises:
            Refused: config-api answered with a problem.
        """
        wanted = {key: value for key, value in query.items() if value is not None}
        try:
            answer = self._http.request(method, path, json=body, params=wanted)
        except httpx.ConnectError:
            fail(f"nothing answers at {self._url}: is `crossdock up` running?", UNREACHABLE)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            fail(f"no answer from {self._url}: {str(error) or type(error).__name__}", UNREACHABLE)
        if answer.is_success:
            return answer
        raise _refused(answer)

    def await_taken(self) -> None:
        """Wait until all services work by the revision in force; say which do not after a while.

        Those that do not run take it when they start, and are not waited for.
        """
        deadline = time.monotonic() + _TAKING_SECONDS
        while (late := self._late()) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        for service, reason in late.items():
            typer.echo(f"{service}: {reason}", err=True)

    def _late(self) -> dict[str, str]:
        """Return the services that work by another revision, and by which."""
        try:
            problems = self._http.get(f"{self._url}/readyz").json()["problems"]
            late = {name: reason for name, reason in problems.items() if name.endswith(_LATE)}
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return {name.removesuffix(_LATE): str(reason) for name, reason in late.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection; a refusal ends the command with what config-api said."""
        self._http.close()
        if isinstance(error, Refused):
            report(error)
            raise typer.Exit(FAILED) from None


def report(refused: Refused) -> None:
    """Print a refusal, field by field."""
    typer.echo(refused.detail or f"config-api answered {refused.status}", err=True)
    for field, message in refused.errors:
        typer.echo(f"  {field}: {message}", err=True)


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print what went wrong and end the command."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def moment(iso: str | None) -> str:
    """Return a time of an answer in UTC, to the second; empty where there is none."""
    return iso[:19].replace("T", " ") if iso else ""


def _token() -> str | None:
    try:
        return given(os.environ, API_TOKEN)
    except ValueError as error:
        fail(f"crossdock: {error}")


def _refused(answer: httpx.Response) -> Refused:
    try:
        problem = answer.json()
        errors = [(str(item["field"]), str(item["message"])) for item in problem["errors"]]
        return Refused(answer.status_code, str(problem["detail"]), errors)
    except (ValueError, KeyError, TypeError):
        words = f"{answer.request.url} answered {answer.status_code}, and not as config-api does"
        return Refused(answer.status_code, words, [])


def _actor() -> str:
    """Return who runs the command, in ASCII as headers want it."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return "crossdock"
    return name.encode("ascii", "replace").decode()
