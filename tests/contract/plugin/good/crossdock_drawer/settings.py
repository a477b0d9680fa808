"""What an operator writes for a drawer."""

from typing import Literal

from pydantic import Field

from crossdock.config.targets import TargetBase


class DrawerTarget(TargetBase):
    """A directory where everything lies side by side."""

    type: Literal["drawer"]
    path: str = Field(pattern="^/", description="The directory; it must be there.")
