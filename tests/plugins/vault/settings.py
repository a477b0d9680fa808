"""Settings of vaults."""

from typing import Literal

from crossdock.config.fields import Configured
from crossdock.config.secret import Secret
from crossdock.config.targets.base import TargetBase


class Login(Configured):
    """Who we are there."""

    user: str
    password: Secret


class VaultTarget(TargetBase):
    """A vault, whose token is what the file ``expects`` says."""

    type: Literal["vault"]
    login: Login
    token: Secret
    expects: str
