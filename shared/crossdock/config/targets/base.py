"""What targets of several protocols have in common."""

from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from crossdock.config.fields import Configured, Email, Host, Name, Port, Seconds, Text
from crossdock.config.naming import check_template, keywords_of


Direction = Literal["store", "query", "both"]


class TargetBase(Configured):
    """What every target has, whatever its protocol."""

    can_query: ClassVar[bool] = False
    """Whether targets of this protocol can be queried and pulled from."""

    type: str
    name: Name
    direction: Direction = Field(
        "store", description="Whether to store there, to query it, or both; see the protocol."
    )
    enabled: bool = Field(True, description="A disabled target keeps its deliveries waiting.")
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Deliveries to this target at the same time, per dispatcher."
    )
    check_seconds: Annotated[float, Field(ge=0, le=86400)] = Field(
        300.0, description="Seconds between the checks by the clock; 0 for none."
    )
    skip_repeated: bool = Field(
        False,
        description="Do not send an instance again whose identical bytes this target has confirmed "
        "in the last 90 days. Only for a target that keeps what it gets: one that was emptied "
        "since would not get it.",
    )
    contact: Email = Field("", description="E-mail address of whom to ask about this target.")
    description: Text = ""

    @property
    def stores(self) -> bool:
        """Whether deliveries may go there."""
        return self.direction != "query"

    @field_validator("direction")
    @classmethod
    def _possible(cls, value: Direction) -> Direction:
        if value != "store" and not cls.can_query:
            raise ValueError("targets of this type cannot be queried; use store")
        return value


class RemoteTarget(TargetBase):
    """A target on a host of its own. No time limits a whole transfer, only its standing still."""

    host: Host = Field(description="Host name, IPv4 or IPv6 address.")
    port: Port
    connect_timeout: Seconds = Field(10.0, description="Seconds to wait for the connection.")
    timeout: Seconds = Field(60.0, description="Seconds to wait for each answer of the peer.")


class FileTarget(TargetBase):
    """A target where instances become files."""

    unique_names: ClassVar[bool] = True
    """Whether the naming must tell instances apart by itself."""

    naming: Text = Field(
        "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm",
        description="Path of each file below the target, from DICOM keywords in braces.",
    )
    exclude: Text = Field(
        "",
        description="Files not to be written: globs on the path or the name, separated by commas.",
    )
    complete_marker: bool = Field(
        True, description="Write an empty `.complete` beside the files when all are there."
    )

    @field_validator("naming")
    @classmethod
    def _known_keywords(cls, value: str) -> str:
        check_template(value)
        return value

    @model_validator(mode="after")
    def _tells_instances_apart(self) -> "FileTarget":
        if self.unique_names and "SOPInstanceUID" not in keywords_of(self.naming):
            raise ValueError(
                "naming needs {SOPInstanceUID}: without it an instance could replace another one"
            )
        return self

    def excludes(self, path: str) -> bool:
        """Whether a file of this path below the target is not to be written."""
        name = path.rpartition("/")[2]
        globs = (glob.strip() for glob in self.exclude.split(","))
        return any(fnmatchcase(path, glob) or fnmatchcase(name, glob) for glob in globs if glob)
