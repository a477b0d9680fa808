"""Settings and adapters that are none."""

from collections.abc import Callable
from typing import Literal

from pydantic import ConfigDict

from crossdock.config.targets import TargetBase


class Impostor(TargetBase):
    """A protocol that is there already."""

    type: Literal["dicom"]


class Lonely(TargetBase):
    """Good settings without a good adapter."""

    type: Literal["lonely"]


class NoName(TargetBase):
    """A protocol whose name no command line would take."""

    type: Literal["no name"]


class Other(TargetBase):
    """Settings of another type than they say."""

    type: Literal["another"]


class Untold(TargetBase):
    """Settings that no API can describe."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    type: Literal["untold"]
    call: Callable[[], None]


class NoAdapter:
    """Made of nothing."""
