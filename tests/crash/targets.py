"""The two targets of the matrix, and what they got, seen from outside."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash.study import WANTED, Study
from crossdock.protocols.placing import COMPLETE
from servers.keeper import Keeper, Kept
from studies import dataset_bytes


ARCHIVE, FOLDER = "archive", "folder"


@dataclass(frozen=True)
class Sent:
    """What was sent to the gateway, and what it may send on more than once.

    ``offered`` counts how often the sender sent each instance. As many as ``twice`` may come once
    more, and none of those that are ``journalled``.
    """

    offered: Counter[str]
    twice: int
    journalled: set[str]


class Targets:
    """A storage SCP that counts what it confirmed, and a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.archive = Keeper()

    def gateway(self, store_port: int, archive_port: int) -> dict[str, Any]:
        """Return the configuration that sends to both."""
        archive = {
            "type": "dicom",
            "host": "127.0.0.1",
            "port": archive_port,
            "called_ae_title": "ARCHIVE",
            "window": 1,
        }
        naming = "{StudyInstanceUID}/{SOPInstanceUID}.dcm"
        return {
            "store_nodes": [
                {"name": "main", "ae_title": "CROSSDOCK", "port": store_port, "accept": "any"}
            ],
            "targets": [
                {"name": ARCHIVE} | archive,
                {"name": FOLDER, "type": "folder", "path": str(self._folder), "naming": naming},
            ],
            "rules": [{"name": "most", "when": WANTED, "targets": [ARCHIVE, FOLDER]}],
        }

    def have(self, study: Study) -> bool:
        """Whether both have all that the rule wants of a study."""
        files = {file.stem for file in self._files(study)}
        return study.wanted.keys() <= self.confirmed(study).keys() & files

    def check(self, study: Study, sent: Sent) -> None:
        """Check the bytes, and that nothing came more often than the sender sent it."""
        assert {file.stem: dataset_bytes(file) for file in self._files(study)} == study.wanted
        for each in self._confirmed(study):
            assert bytes(each.data) == study.wanted.get(each.sop_instance_uid), "other bytes"
        again = self.confirmed(study) - sent.offered
        assert again.total() <= sent.twice, f"sent again: {again}"
        assert not again.keys() & sent.journalled, f"sent again though confirmed: {again}"

    def confirmed(self, study: Study) -> Counter[str]:
        """Return how often the archive confirmed each instance of a study."""
        return Counter(each.sop_instance_uid for each in self._confirmed(study))

    def _confirmed(self, study: Study) -> list[Kept]:
        ours = study.wanted.keys() | study.unwanted
        return [
            each
            for each in [*self.archive.instances]
            if each.state == "committed" and each.sop_instance_uid in ours
        ]

    def _files(self, study: Study) -> list[Path]:
        """Return the files of a study, half-written ones included."""
        return [path for path in (self._folder / study.uid).glob("*") if path.name != COMPLETE]
