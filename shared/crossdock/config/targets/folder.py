"""Settings of folder targets."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from crossdock.config.targets.base import FileTarget


_NAME = r"[A-Za-z0-9_.][A-Za-z0-9_.@-]*\$?"
_OWNER = re.compile(rf"{_NAME}|({_NAME})?:{_NAME}", re.ASCII)
_LAST_ID = 2**32 - 2  # the one after it means "as it is"


class FolderTarget(FileTarget):
    """A directory, local or mounted."""

    unique_names: ClassVar[bool] = False  # a name that is taken gets a number

    type: Literal["folder"]
    path: Annotated[str, Field(min_length=1, max_length=1000)] = Field(
        description="Absolute path of the directory, as the dispatcher sees it."
    )
    file_mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$")] = Field(
        "640", description="Permissions of the files, in octal."
    )
    directory_mode: Annotated[str, Field(pattern=r"^0?[0-7]{3,4}$")] = Field(
        "750", description="Permissions of directories that are made, in octal."
    )

    owner: Annotated[str, Field(max_length=200)] = Field(
        "",
        description="Whom files and directories are given to, as user, user:group or :group, by "
        "name or number on the dispatcher's machine; its own user if left out.",
    )

    @field_validator("owner")
    @classmethod
    def _user_and_group(cls, value: str) -> str:
        if value and not _OWNER.fullmatch(value):
            raise ValueError("use user, user:group or :group, by name or number")
        numbers = (part for part in value.split(":") if part.isdecimal())
        if any(int(part) > _LAST_ID for part in numbers):
            raise ValueError(f"a number of a user or group is at most {_LAST_ID}")
        return value

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value.startswith("/") or "\0" in value:
            raise ValueError("use an absolute path, such as /data/research")
        return value
