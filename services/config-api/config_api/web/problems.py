"""Errors as ``application/problem+json`` (RFC 9457), in one shape for every cause."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from config_api.configuration import Conflict, StaleRevision
from config_api.database import DatabaseUnavailable
from crossdock.errors import BusError, ConfigError, FieldProblem, NoReply


MEDIA_TYPE = "application/problem+json"


class Refusal(Exception):  # noqa: N818 — a way to answer, not an error of ours
    """Raised anywhere in a request to answer it with a problem."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        errors: Iterable[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers


def problem(
    status: HTTPStatus,
    detail: str,
    errors: Iterable[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response that says what went wrong."""
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "errors": [{"field": item.field, "message": item.message} for item in errors],
    }
    return JSONResponse(body, status.value, headers, media_type=MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI of the problems that a route may answer with, besides the usual ones."""
    reference = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": reference}},
        }
        for status in sorted({*statuses, 401, 403, 422, 503})
    }


def install(app: FastAPI) -> None:
    """Make the application answer every expected error with a problem."""
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(ConfigError, _invalid)
    app.add_exception_handler(Conflict, _plain(HTTPStatus.CONFLICT))
    app.add_exception_handler(StaleRevision, _plain(HTTPStatus.PRECONDITION_FAILED))
    app.add_exception_handler(DatabaseUnavailable, _plain(HTTPStatus.SERVICE_UNAVAILABLE))
    app.add_exception_handler(NoReply, _plain(HTTPStatus.SERVICE_UNAVAILABLE))
    app.add_exception_handler(BusError, _broker)


def _refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 — what it is registered for
    return problem(error.status, error.detail, error.errors, error.headers)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 — what it is registered for
    status = HTTPStatus(error.status_code)
    details = {
        HTTPStatus.NOT_FOUND: "There is nothing here; see /api/v1/openapi.json.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} cannot be used here.",
    }
    return problem(status, details.get(status, ""), headers=error.headers)


def _parameters(_request: Request, error: Exception) -> Response:
    """Answer to a wrong query or path parameter."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 — what it is registered for
    errors = [FieldProblem(str(item["loc"][-1]), str(item["msg"])) for item in error.errors()]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "A parameter is not valid.", errors)


def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ConfigError)  # noqa: S101 — what it is registered for
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The settings are not valid.", error.problems)


def _broker(_request: Request, _error: Exception) -> Response:
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "The broker cannot be reached.")


def _plain(status: HTTPStatus) -> Any:
    headers = {"Retry-After": "5"} if status is HTTPStatus.SERVICE_UNAVAILABLE else None

    def answer(_request: Request, error: Exception) -> Response:
        return problem(status, str(error), headers=headers)

    return answer
