"""Settings of rsync targets."""

from typing import Annotated, Literal

from pydantic import Field

from crossdock.config.fields import Seconds
from crossdock.config.targets.ssh import SshTarget


class RsyncTarget(SshTarget):
    """A directory on a host that has rsync, over SSH."""

    type: Literal["rsync"]
    batch: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1000, description="Instances per run of rsync, at most; they get their names together."
    )
    run_on_complete: bool = Field(
        False, description="Run a script there after each finished delivery, once."
    )
    script: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")] = Field(
        "mercure_complete.sh",
        description="The script's name in the target's directory. It is given the directory that "
        "the delivery went to and the target's name.",
    )
    script_seconds: Seconds = Field(
        600.0, description="Seconds after which the script is not waited for any longer."
    )
