"""The conformance statement says what the code does, and the page in the repository says it, too."""

import re
from pathlib import Path

from crossdock.cli.conformance.commitment import ANSWERED, REASONS
from crossdock.cli.conformance.store_node import WHEN_ANSWERED
from crossdock.dicom.status import Status
from machine import crossdock


ROOT = Path(__file__).parents[2]
PAGE = ROOT / "deploy/conformance.md"


def _named(*files: str) -> set[Status]:
    """Return the statuses that some files of the code name."""
    texts = (ROOT / file for file in files)
    return {
        Status[name]
        for text in texts
        for name in re.findall(r"Status\.([A-Z_]+)", text.read_text())
    }


def test_the_page_is_what_the_command_prints() -> None:
    printed = crossdock("conformance")
    assert printed.exit_code == 0
    same = printed.stdout == PAGE.read_text()
    assert same, "renew it: crossdock conformance > deploy/conformance.md"


def test_every_status_that_a_store_node_answers_with_is_explained() -> None:
    assert set(WHEN_ANSWERED) == _named(
        "shared/crossdock/dicom/scp_association.py",
        "shared/crossdock/dicom/storage_handler.py",
        "services/receiver/receiver/store_scp.py",
    )


def test_every_status_and_reason_of_storage_commitment_is_explained() -> None:
    assert set(ANSWERED) | set(REASONS) == _named(
        "shared/crossdock/dicom/commitment_handler.py",
        "shared/crossdock/dicom/commitment_talk.py",
        "services/receiver/receiver/commitment.py",
    )


def test_every_link_of_the_page_leads_to_one_of_its_headings() -> None:
    text = PAGE.read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}
    links = set(re.findall(r"\]\(#([^)]*)\)", text))
    assert links
    assert links <= anchors
