"""What a check finds out over an open connection; it leaves nothing behind."""

import secrets
import shlex
import subprocess
from pathlib import PurePosixPath

from crossdock.config.targets import RsyncTarget
from crossdock.protocols.rsync.failures import Ended, of_run
from crossdock.protocols.rsync.runs import Rsync, Run, waited
from crossdock.protocols.rsync.script import script_path
from crossdock.protocols.rsync.staging import Batch, Staging
from crossdock.protocols.ssh.openssh import OpenSsh
from crossdock.protocols.ssh.programs import plain_environment
from crossdock.protocols.stages import Stage, StageFailed


_NAME = "check"
_CONTENT = b"check"


def session_stages(target: RsyncTarget, connection: OpenSsh) -> tuple[Stage, ...]:
    """Return the stages after authentication: authorise, and script where there is one."""
    found = _Findings(target, connection)
    stages: tuple[Stage, ...] = (("authorise", found.authorise),)
    if target.run_on_complete:
        stages = (*stages, ("script", found.script))
    return stages


class _Findings:
    def __init__(self, target: RsyncTarget, connection: OpenSsh) -> None:
        self._target = target
        self._connection = connection

    def authorise(self) -> str:
        """Send a file, fetch it and remove it, as sending does."""
        rsync = Rsync(self._target, self._connection)
        staging = Staging(self._target.file_mode, self._target.directory_mode)
        folder = PurePosixPath(f".crossdock-check-{secrets.token_hex(8)}")
        try:
            sent, fetched = staging.batch(), staging.batch().directory
            sent.write(folder / _NAME, _CONTENT)
            try:
                self._send(rsync, sent)
                self._require(rsync.fetch(f"{folder}/{_NAME}", fetched))
            finally:
                self._require(rsync.forget(str(folder), fetched))
            if (fetched / _NAME).read_bytes() != _CONTENT:
                detail = f"{self._target.path}: a file was read back with another content"
                raise StageFailed(detail, "look at the server's log")
        finally:
            staging.close()
        words = "" if rsync.syncs else "; one rsync is too old to sync files to the disk there"
        return f"a file could be sent, named, fetched and removed{words}"

    def script(self) -> str:
        """Say whether the script can be run, without running it."""
        path = script_path(self._target)
        asked = subprocess.run(
            [*self._connection.sharing(), shlex.join(["test", "-x", path])],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=plain_environment(),
            timeout=self._target.timeout,
        )
        if asked.returncode == 0:
            return f"{path} can be run"
        if asked.returncode == 1:
            advice = "put it there, and make it executable for the account"
            raise StageFailed(f"{path} is not there, or cannot be run", advice)
        advice = "let the account run commands, or set run_on_complete to false"
        raise StageFailed("the account runs no commands", advice)

    def _send(self, rsync: Rsync, batch: Batch) -> None:
        ended = waited(rsync.send(batch.directory, batch.roots()))
        if ended.cannot_sync:
            rsync.syncs = False
            ended = waited(rsync.send(batch.directory, batch.roots()))
        self._judge(ended)

    def _require(self, run: Run) -> None:
        self._judge(waited(run))

    def _judge(self, ended: Ended) -> None:
        if ended.code:
            raise self._connection.lost() or of_run(ended, self._target)
