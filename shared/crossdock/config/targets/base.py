"""What targets of several protocols have in common."""

from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from crossdock.config.bandwidth import Bandwidth, bytes_per_second
from crossdock.config.fields import Configured, Email, Host, Name, Port, Seconds, Text
from crossdock.config.naming import check_template, keywords_of
from crossdock.config.windows import TimeZone, Window, next_change, open_at


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
    enabled: bool = Field(
        True,
        description="A disabled target is out of use: its deliveries wait, and the clock does not "
        "check it. To stop one only for a while, pause it.",
    )
    paused: Text = Field(
        "",
        description="Why a person stopped sending there for a while; empty where nobody did. Its "
        "deliveries wait and it is checked all the same. A file that does not mention it leaves "
        "it as it is; an empty text resumes.",
    )
    draining: bool = Field(
        False,
        description="A target that is drained takes no new work, so that no rule may name it, and "
        "is removed by itself when its last delivery is done.",
    )
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Deliveries to this target at the same time, per dispatcher."
    )
    bandwidth: Bandwidth | None = Field(
        None,
        description="At most this much for all deliveries of one dispatcher together, such as "
        "`20 Mbit/s` or `2.5 MB/s`; no limit if left out.",
    )
    windows: Annotated[tuple[Window, ...], Field(max_length=32)] = Field(
        (), description="When deliveries are made; at any time if left out."
    )
    time_zone: TimeZone = Field(
        "UTC", description="IANA time zone of the windows, such as Europe/Berlin."
    )
    urgent_any_time: bool = Field(
        False, description="Make urgent deliveries outside the windows, too."
    )
    fallback: Name | None = Field(
        None,
        description="Target that gets what is held because this one does not take it; the "
        "fallback of a rule comes before it.",
    )
    fallback_after: Seconds | None = Field(
        None,
        description="Seconds after which the fallback also gets what waits while this target "
        "fails; it goes on waiting all the same. Left out, only what is held.",
    )
    keep_order: bool = Field(
        False,
        description="Send the instances of a series in the order in which they came, over all "
        "parcels, and one at a time.",
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

    @property
    def bytes_per_second(self) -> float | None:
        """The bandwidth in bytes per second, None for no limit."""
        return None if self.bandwidth is None else bytes_per_second(self.bandwidth)

    def is_open(self, now: float) -> bool:
        """Whether its time windows let deliveries be made at a Unix time."""
        return not self.windows or open_at(self.windows, ZoneInfo(self.time_zone), now)

    def next_change(self, now: float) -> float | None:
        """Return the Unix time at which its windows open or close next; None for never."""
        return next_change(self.windows, ZoneInfo(self.time_zone), now) if self.windows else None

    @property
    def standstill(self) -> str:
        """Why nothing is sent there by somebody's decision, in words; empty where it is sent."""
        if not self.enabled:
            return f"target {self.name} is disabled"
        return f"target {self.name} is paused: {self.paused}" if self.paused else ""

    @field_validator("paused")
    @classmethod
    def _said(cls, value: str) -> str:
        return value.strip()

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
