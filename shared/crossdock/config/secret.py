"""Secrets in a configuration: passwords, tokens and keys, which nobody gets to read again.

A person writes a text, or says where it is: ``{env: NAME}`` or ``{file: /path}``, read on the
machine that uses it. A text is sealed as soon as the configuration is written down anywhere:
database, snapshot, message.
"""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    Field,
    SecretStr,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from crossdock.config.fields import Configured
from crossdock.config.sealing import seal, unseal
from crossdock.config.tls import FilePath
from crossdock.errors import SecretUnavailable


_LONGEST = 64 * 1024  # characters: a key with its chain is a tenth of that
_OWN = "CROSSDOCK_"


class SecretValue(Configured):
    """A secret, or where it is; exactly one of the fields is set. ``reveal`` is for adapters."""

    plain: SecretStr | None = None
    sealed: str | None = None
    env: Annotated[str | None, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)] = None
    file: FilePath | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            if not value or len(value) > _LONGEST:
                raise ValueError(f"a secret has 1 to {_LONGEST} characters")
            return {"plain": value}
        if isinstance(value, dict) and value.keys() == {"kept"}:
            raise ValueError("there is no secret kept here: give it anew")
        if isinstance(value, SecretValue) or (isinstance(value, dict) and len(value) == 1):
            return value
        raise ValueError("write a text, {env: NAME} or {file: /path}")

    @model_validator(mode="after")
    def _not_our_own(self) -> "SecretValue":
        if self.env is not None and self.env.upper().startswith(_OWN):
            raise ValueError(f"{_OWN}… is for Crossdock's own settings; choose another name")
        return self

    @model_serializer
    def _without_plain(self) -> dict[str, str]:
        if self.plain is not None:
            return {"sealed": seal(self.plain.get_secret_value())}
        place = {"sealed": self.sealed, "env": self.env, "file": self.file}
        return {name: value for name, value in place.items() if value is not None}

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def reveal(self) -> str:
        """Return the secret itself.

        Raises:
            SecretUnavailable: it cannot be had here; the text says why and never what.
        """
        if self.plain is not None:
            return self.plain.get_secret_value()
        if self.sealed is not None:
            return unseal(self.sealed)
        return _from_environment(self.env) if self.env else _from_file(self.file or "")


def _from_environment(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise SecretUnavailable(f"the environment variable {name} is not set here")
    return value


def _from_file(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8") as file:
            value = file.read(_LONGEST).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "is not text"
        raise SecretUnavailable(f"{path}: {words}") from None
    if not value:
        raise SecretUnavailable(f"{path}: is empty")
    return value


Secret = Annotated[
    SecretValue,
    WithJsonSchema(
        {
            "title": "Secret",
            "description": "A text, or where it is; read again it is only said to be kept.",
            "anyOf": [
                {"type": "string", "minLength": 1, "writeOnly": True},
                *(
                    {
                        "type": "object",
                        "properties": {name: schema},
                        "required": [name],
                        "additionalProperties": False,
                    }
                    for name, schema in (
                        ("env", {"type": "string"}),
                        ("file", {"type": "string"}),
                        ("kept", {"const": True}),
                    )
                ),
            ],
        }
    ),
]
