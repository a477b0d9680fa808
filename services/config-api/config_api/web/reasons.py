"""The reason that a person gives."""

from typing import Any

from pydantic import ValidationError

from config_api.answers import Reason
from crossdock.config.snapshot import field_problems
from crossdock.errors import ConfigError


def reason_in(body: dict[str, Any]) -> str:
    """Return the reason in a request's body.

    Raises:
        ConfigError: there is none, or it is too long.
    """
    try:
        return Reason.model_validate(body).reason
    except ValidationError as error:
        raise ConfigError(field_problems(error)) from None
