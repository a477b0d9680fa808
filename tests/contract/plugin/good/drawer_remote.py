"""The drawer's side of Crossdock's contract suite; a plug-in of pytest: ``-p drawer_remote``."""

import shutil
from collections.abc import Callable
from pathlib import Path

from contract.registry import REMOTES
from contract.remotes import Secretive, make_target
from crossdock.config.targets import Target
from crossdock.protocols import Outgoing


PASSWORD, TOKEN = "open sesame", "t0k3n-of-the-drawer"


class DrawerRemote(Secretive):
    """A directory that is locked."""

    secrets = (PASSWORD, TOKEN, "not the t0k3n")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.path = directory / "drawer"
        self.path.mkdir()
        (self.path / ".lock").write_text(f"{PASSWORD}\n{TOKEN}\n")

    def target(self, **changes: object) -> Target:
        login = {"user": "ali", "password": PASSWORD}
        settings = {"path": str(self.path), "login": login, "token": TOKEN, **changes}
        return make_target({"type": "drawer", **settings})

    def files(self) -> list[Path]:
        return sorted(self.path.glob("*.dcm"))

    def absent(self) -> Target:
        return self.target(path=str(self.directory / "nowhere"))

    def misnamed(self) -> Target:
        file = self.directory / "file"
        file.touch()
        return self.target(path=str(file))

    def unauthorised(self) -> Target:
        return self.target(token="not the t0k3n")

    def refusing(self, outgoing: Outgoing) -> Target:
        (self.path / f"{outgoing.instance.sop_instance_uid}.dcm").mkdir()
        return self.target()

    def breaking(self, after: int) -> tuple[Target, Callable[[int], None]]:
        def after_each(number: int) -> None:
            if number == after:
                shutil.rmtree(self.path)

        return self.target(), after_each


REMOTES["drawer"] = DrawerRemote
