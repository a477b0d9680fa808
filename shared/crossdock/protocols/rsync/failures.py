"""What rsync's exit codes and words mean for a delivery; no name of a file leaves here."""

import errno
import os
import re
from dataclasses import dataclass

from crossdock.config.targets import RsyncTarget
from crossdock.errors import ErrorKind
from crossdock.protocols.failures import InstanceRefused, TargetFailed
from crossdock.protocols.ssh.failures import busy, misconfigured, timed_out, unreachable


_ERRNO = re.compile(r"\((\d{1,3})\)(?: \*\*\*.*)?$")
_NOISE = ("command not found", "not found", "sftp connections only", "is your shell clean")
_TIMEOUT = 30
_NO_RSYNC = (2, 127)
_BROKEN_OFF = (10, 12, 20, 255)
_PARTIAL = (23, 24)
"""Exit codes after which some files have arrived, and others not."""

_IN_THE_WAY = "could not make way for new regular file: "

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_WORDS = {
    errno.ENAMETOOLONG: "the name from the template is too long there",
    errno.EINVAL: "the name from the template is not allowed there",
    errno.EILSEQ: "the characters of the name are not allowed there",
    errno.ENOTDIR: "a file stands where the template wants a directory",
    errno.ENOTEMPTY: "a directory has the name from the template",
    errno.EISDIR: "a directory has the name from the template",
    errno.ELOOP: "a symbolic link stands where the template wants a directory",
    errno.EFBIG: "the instance is larger than a file may be there",
}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of rsync ended: its exit code, and what it said on standard error."""

    code: int
    said: str

    @property
    def may_be_partial(self) -> bool:
        """Whether some files have arrived, and others not."""
        return self.code in _PARTIAL

    @property
    def cannot_sync(self) -> bool:
        """Whether one of the two rsyncs is too old to sync files."""
        return self.code != 0 and "--fsync" in self.said and "unknown option" in self.said

    def errors(self) -> list[int]:
        """Return the numbers of the errors of the operating system that it told."""
        found = (_ERRNO.search(line) for line in self.said.splitlines())
        return [int(match.group(1)) for match in found if match and "rsync error:" not in match[0]]

    def about(self, name: str) -> int:
        """Return the number of the error that it told of one file, 0 if it told none."""
        if _IN_THE_WAY + name in self.said.splitlines():
            return errno.EISDIR
        lines = (line for line in self.said.splitlines() if name in line)
        found = next((match for match in map(_ERRNO.search, lines) if match), None)
        return int(found.group(1)) if found is not None else 0


def of_run(ended: Ended, target: RsyncTarget) -> TargetFailed:
    """Return why a run failed as a whole, with the connection still alive."""
    place = f"{target.host}:{target.port}"
    if ended.code == _TIMEOUT:
        return timed_out(f"{place}: rsync saw nothing move for {target.timeout:g} s")
    failure = _of_system(ended, target) or _of_words(ended, target)
    if failure is not None:
        return failure
    if ended.code in _BROKEN_OFF:
        return unreachable(f"{place}: the transfer broke off")
    found = f"{place}: rsync ended with code {ended.code}"
    return TargetFailed(ErrorKind.UNEXPECTED, found, "look at the server's log")


def _of_system(ended: Ended, target: RsyncTarget) -> TargetFailed | None:
    """Return what errors of the operating system there say of the target."""
    path, errors = target.path, ended.errors()
    for number in errors:
        if number in _FULL:
            return busy(f"{path}: {os.strerror(number).lower()}")
    if _lacks_directory(ended):
        advice = "make it on the server, or correct path; it is never made by itself"
        return misconfigured(f"{path} is not there", advice)
    for number in errors:
        if number in _DENIED:
            advice = f"let {target.user} write there"
            return misconfigured(f"{path}: {os.strerror(number).lower()}", advice)
    if errno.ENOTDIR in errors:
        return misconfigured(f"{path} is no directory", "correct path")
    return None


def _of_words(ended: Ended, target: RsyncTarget) -> TargetFailed | None:
    """Return what the answer of a shell, or of sshd, says of the account."""
    place = f"{target.host}:{target.port}"
    if "ession open refused" in ended.said:
        return busy(f"{place} lets no more sessions share a connection (MaxSessions)")
    if any(words in ended.said for words in _NOISE) or ended.code in _NO_RSYNC:
        advice = "install rsync there, and let the account run it"
        return misconfigured(f"{place} runs no rsync for {target.user}", advice)
    return None


def of_file(ended: Ended, name: str, target: RsyncTarget) -> TargetFailed | InstanceRefused:
    """Return why one file did not arrive: because of the target, or of the file."""
    number = ended.about(name) or next(iter(ended.errors()), 0)
    if number in _WORDS:
        return InstanceRefused(errno.errorcode[number], _WORDS[number])
    if number in (*_FULL, *_DENIED, errno.ENOENT):
        return of_run(ended, target)
    words = os.strerror(number).lower() if number else f"rsync ended with code {ended.code}"
    status = errno.errorcode.get(number, f"rsync {ended.code}")
    return InstanceRefused(status, f"not taken there: {words}")


def _lacks_directory(ended: Ended) -> bool:
    """Whether the target's own directory is missing: the only one that rsync does not make."""
    return any(
        "mkdir" in line and line.endswith("(2)") and '/." failed' in line
        for line in ended.said.splitlines()
    )
