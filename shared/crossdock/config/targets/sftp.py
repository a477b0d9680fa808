"""Settings of SFTP targets."""

from typing import Annotated, Literal

from pydantic import Field

from crossdock.config.targets.ssh import SshTarget


class SftpTarget(SshTarget):
    """A directory of an SFTP server."""

    type: Literal["sftp"]
    files_in_flight: Annotated[int, Field(ge=1, le=64)] = Field(
        16, description="Files under way at once in the one connection of a delivery."
    )
