"""Settings of folder targets."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from crossdock.config.targets.base import FileTarget


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

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value.startswith("/") or "\0" in value:
            raise ValueError("use an absolute path, such as /data/research")
        return value
