"""The drawer's side of Crossdock's contract suite; a plug-in of pytest: ``-p drawer_remote``."""

import shutil
from collections.abc import Callable
from pathlib import Path

from contract.registry import REMOTES
from contract.remotes import Remote, make_target
from crossdock.config.targets import Target
from crossdock.protocols import Outgoing


class DrawerRemote(Remote):
    """A directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.path = directory / "drawer"
        self.path.mkdir()

    def target(self, **changes: object) -> Target:
        return make_target({"type": "drawer", "path": str(self.path), **changes})

    def files(self) -> list[Path]:
        return sorted(path for path in self.path.rglob("*") if path.is_file())

    def absent(self) -> Target:
        return self.target(path=str(self.directory / "nowhere"))

    def misnamed(self) -> Target:
        file = self.directory / "file"
        file.touch()
        return self.target(path=str(file))

    def refusing(self, outgoing: Outgoing) -> Target:
        (self.path / f"{outgoing.instance.sop_instance_uid}.dcm").mkdir()
        return self.target()

    def breaking(self, after: int) -> tuple[Target, Callable[[int], None]]:
        def after_each(number: int) -> None:
            if number == after:
                shutil.rmtree(self.path)

        return self.target(), after_each


REMOTES["drawer"] = DrawerRemote
