"""To whom files are given, as far as this process may give any away."""

import grp
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass

from crossdock.errors import ErrorKind
from crossdock.protocols.failures import TargetFailed
from crossdock.protocols.folder.failures import words


_KEEP = -1  # what chown(2) leaves as it is


@dataclass(frozen=True, slots=True)
class Owner:
    """A user and a group of this machine, by number; ``words`` is how the settings name them."""

    words: str = ""
    user: int = _KEEP
    group: int = _KEEP

    def give(self, descriptor: int) -> None:
        """Give a file or directory away; nothing happens where no owner is set.

        Raises:
            TargetFailed: this process may not.
        """
        if not self.words:
            return
        try:
            os.fchown(descriptor, self.user, self.group)
        except OSError as error:
            found = f"files cannot be given to {self.words}: {words(error)}"
            advice = (
                "run the dispatcher with CAP_CHOWN, or name a group that its user is in, or leave "
                "owner out"
            )
            raise TargetFailed(ErrorKind.MISCONFIGURED, found, advice) from error


def find_owner(text: str) -> Owner:
    """Return the owner that settings name, as ``user``, ``user:group`` or ``:group``.

    A user without a group leaves the group as the directory gives it.

    Raises:
        TargetFailed: there is no such user or group on this machine.
    """
    user, _, group = text.partition(":")
    try:
        return Owner(
            text,
            _number(user, lambda: pwd.getpwnam(user).pw_uid),
            _number(group, lambda: grp.getgrnam(group).gr_gid),
        )
    except KeyError as error:
        found = f"owner {text}: {error.args[0]}"
        advice = "add it on the machine of the dispatcher, or use numbers"
        raise TargetFailed(ErrorKind.MISCONFIGURED, found, advice) from None


def _number(text: str, look_up: Callable[[], int]) -> int:
    if text.isdecimal():
        return int(text)
    return look_up() if text else _KEEP
