"""What an operator writes for a drawer."""

from typing import Literal

from pydantic import Field

from crossdock.config.fields import Configured
from crossdock.config.secret import Secret
from crossdock.config.targets import TargetBase


class Login(Configured):
    """Who we are at a drawer that is locked."""

    user: str = Field(description="The name that is asked for.")
    password: Secret = Field(description="The password of the user.")


class DrawerTarget(TargetBase):
    """A directory where everything lies side by side; what its file ``.lock`` says opens it."""

    type: Literal["drawer"]
    path: str = Field(pattern="^/", description="The directory; it must be there.")
    login: Login | None = Field(None, description="Who opens a drawer that is locked.")
    token: Secret | None = Field(None, description="What a locked drawer asks for, too.")
