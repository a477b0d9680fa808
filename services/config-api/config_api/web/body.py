"""Reads what a request brings: its JSON, the revision it is meant for, and who sends it."""

import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from config_api.web.problems import Refusal


MAX_BYTES = 10_000_000
_MAX_ACTOR = 64

JSON_TYPES = ("application/json", "application/merge-patch+json")


def media_type(content_type: str) -> str:
    """Return the media type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


async def _json_body(request: Request) -> Any:
    if media_type(request.headers.get("content-type", "")) not in JSON_TYPES:
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send Content-Type: application/json.")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BYTES:
            limit = f"A request has at most {MAX_BYTES} bytes."
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, limit)
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        where = f": {error}" if isinstance(error, json.JSONDecodeError) else ""
        raise Refusal(HTTPStatus.BAD_REQUEST, f"The request is not JSON{where}.") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


async def _json_object(body: Annotated[Any, Depends(_json_body)]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "Send a JSON object.")
    return body


def _if_match(
    value: Annotated[
        str | None,
        Header(alias="If-Match", description='Revision to change, such as `"7"`; else 412.'),
    ] = None,
) -> int | None:
    if value is None or value.strip() == "*":
        return None
    number = value.strip().removeprefix("W/").strip('"')
    if not (number.isascii() and number.isdigit() and len(number) < 18):  # noqa: PLR2004 — fits a column
        raise Refusal(HTTPStatus.PRECONDITION_FAILED, 'If-Match takes a revision, such as "7".')
    return int(number)


def _actor(
    value: Annotated[
        str, Header(alias="Crossdock-Actor", description="Who makes the change, for the record.")
    ] = "api",
) -> str:
    printable = "".join(character for character in value if character.isprintable())
    return printable[:_MAX_ACTOR].strip() or "api"


JsonObject = Annotated[dict[str, Any], Depends(_json_object)]
IfMatch = Annotated[int | None, Depends(_if_match)]
Actor = Annotated[str, Depends(_actor)]


def described(schema: str, example: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI of a request body that is read with ``JsonObject``."""
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
