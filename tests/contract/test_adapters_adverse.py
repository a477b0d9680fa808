"""What every adapter promises when something is against it: peers, values, sizes, secrets."""

import logging
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pydicom
import pytest
import structlog
from pydicom.dataelem import DataElement

from contract.registry import protocols, protocols_of_files
from contract.remotes import Connected, Guarded, Remote, Secretive, outgoing_of
from crossdock.config.targets import FileTarget, Target
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import CheckReport, CheckStage, Outcome
from crossdock.protocols import Outgoing, adapter_for
from servers.samples import write_instance
from studies import by_uid, dataset_bytes, make_ct


LARGE = 1_000_000_000
MOST = 80_000_000

SENDER = Path(__file__).with_name("one_sender.py")


def failed_stage(report: CheckReport) -> CheckStage:
    (failed,) = [stage for stage in report.stages if stage.state == "failed"]
    assert failed.detail
    assert failed.advice
    return failed


def failure_of(target: Target, paths: list[Path]) -> DeliveryError:
    with adapter_for(target) as adapter, pytest.raises(DeliveryError) as raised:
        list(adapter.send(outgoing_of(paths)))
    assert raised.value.detail
    return raised.value


@pytest.mark.parametrize("remote", protocols(Guarded), indirect=True)
def test_wrong_credentials_fail_the_stage_of_their_name(remote: Guarded, tmp_path: Path) -> None:
    target = remote.unauthorised()
    with adapter_for(target) as adapter:
        failed = failed_stage(adapter.check())
    assert failed.name in ("authenticate", "associate")
    error = failure_of(target, make_ct(tmp_path / "ct", 2))
    assert error.kind is ErrorKind.UNAUTHORISED
    assert not error.temporary


@pytest.mark.parametrize("remote", protocols(Connected), indirect=True)
def test_a_peer_that_hangs_ends_in_a_time_out(remote: Connected, tmp_path: Path) -> None:
    target = remote.hanging()
    paths = make_ct(tmp_path / "ct", 2)
    bound = 4 * getattr(target, "timeout", 1.0) + 4  # a ping may take 2 s of that
    began = time.monotonic()
    with adapter_for(target) as adapter:
        failed_stage(adapter.check())
    checked = time.monotonic()
    error = failure_of(target, paths)
    assert checked - began < bound
    assert time.monotonic() - checked < bound
    assert error.kind is ErrorKind.TIMEOUT
    assert error.temporary


def all_that_shows(target: Target, outgoing: list[Outgoing]) -> str:
    """Check a target and send to it; return whatever can be seen of that, but not in the logs."""
    shown: list[object] = [repr(target), str(target), target.model_dump(), target.model_dump_json()]
    with adapter_for(target) as adapter:
        shown += [repr(adapter), str(adapter), adapter.check().model_dump_json()]
        try:
            shown += [outcome.model_dump_json() for outcome in adapter.send(outgoing)]
        except DeliveryError as error:
            shown += [str(error), repr(error), error.detail, *traceback.format_exception(error)]
    return "\n".join(map(str, shown))


@pytest.mark.parametrize("remote", protocols(Secretive), indirect=True)
def test_no_secret_shows_anywhere(
    remote: Secretive,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 2))
    targets = [
        remote.target(),
        remote.unauthorised(),
        remote.absent(),
        remote.misnamed(),
        remote.refusing(outgoing[1]),
        remote.breaking(after=1)[0],
    ]
    if isinstance(remote, Connected):
        targets.append(remote.hanging())
    with structlog.testing.capture_logs() as logs:
        shown = [all_that_shows(target, outgoing) for target in targets]
    shown += [str(logs), caplog.text, *capfd.readouterr()]
    for secret in remote.secrets:
        assert not [text for text in shown if secret in text]


def test_after_a_cut_there_are_only_whole_instances(remote: Remote, tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 40, size=200_000)
    target, after_each = remote.breaking(after=3)
    confirmed: list[int] = []

    def send() -> None:
        with adapter_for(target) as adapter:
            for outcome in adapter.send(outgoing_of(paths)):
                confirmed.append(outcome.number)
                after_each(outcome.number)

    with pytest.raises(DeliveryError) as raised:
        send()
    assert raised.value.temporary
    assert len(confirmed) >= 3
    assert confirmed == list(range(1, len(confirmed) + 1))
    assert remote.received().items() <= by_uid(paths).items()


@pytest.mark.parametrize("remote", protocols_of_files(), indirect=True)
def test_what_is_excluded_is_said_to_be_and_is_not_there(remote: Remote, tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 4)
    outgoing = outgoing_of(paths)
    uids = [each.instance.sop_instance_uid for each in outgoing]
    with adapter_for(remote.target(exclude=f"*{uids[1]}.dcm, */{uids[3]}.dcm")) as adapter:
        outcomes = list(adapter.send(outgoing))
        adapter.finish(outgoing)
    excluded, delivered = Outcome.EXCLUDED, Outcome.DELIVERED
    assert [each.outcome for each in outcomes] == [delivered, excluded, delivered, excluded]
    assert outcomes[1].detail
    assert remote.received() == by_uid([paths[0], paths[2]])


LONGEST_UID = "1.2.826.0.1.3680043.8.498." + "9" * 38

HOSTILE = (
    "Müller^Jürgen^Ørsted",
    "金^希中=김희중",
    'O\'Neil "Bob" <b@x>',
    "../../../../etc/passwd",
    "/etc/cron.d/x",
    "..",
    ".",
    "-rf --rsh=x",
    "%2e%2e%2f%00?a=b#c&d;e",
    "line\nbreak\r\nX-Header: 1",
    "N\0UL",
    "tab\tbell\a\x1b[31m",
    "*?[a-z]~{a,b}|;",
)


def hostile_ct(path: Path, template: Path, uid: str, **values: str) -> Path:
    """Write a CT instance whose elements have any value, valid or not."""
    ds = pydicom.dcmread(template)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
    for keyword, value in values.items():
        tag = pydicom.datadict.tag_for_keyword(keyword)
        assert tag is not None
        vr = pydicom.datadict.dictionary_VR(tag)
        ds[keyword] = DataElement(tag, vr, value, validation_mode=pydicom.config.IGNORE)
    ds.save_as(path)
    return path


def commands(canary: Path) -> list[str]:
    """Return values that leave a file behind wherever a shell reads them."""
    return [f"$(touch {canary})", f"`touch {canary}`", f"'; touch {canary}; '", f"|touch {canary}"]


def test_values_that_are_hostile_do_no_harm(remote: Remote, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (template,) = make_ct(tmp_path / "ct", 1)
    paths = [
        hostile_ct(
            tmp_path / f"{number}.dcm",
            template,
            f"{LONGEST_UID[:60]}{number:04d}",
            PatientName=value,
            PatientID=value,
            StudyDescription=value,
            AccessionNumber=value,
        )
        for number, value in enumerate([*HOSTILE, *commands(canary)], 1)
    ]
    naming = "{PatientName}/{PatientID} {StudyDescription}/{SOPInstanceUID}.dcm"
    changes = {"naming": naming} if isinstance(remote.target(), FileTarget) else {}
    outgoing = outgoing_of(paths)
    with adapter_for(remote.target(**changes)) as adapter:
        outcomes = list(adapter.send(outgoing))
        adapter.finish(outgoing)
    assert [outcome.outcome for outcome in outcomes] == [Outcome.DELIVERED] * len(paths)
    assert remote.received() == by_uid(paths)
    assert not canary.exists()


def test_uids_that_are_hostile_harm_no_other_instance(remote: Remote, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    first, template, last = make_ct(tmp_path / "ct", 3)
    hostile = [
        hostile_ct(
            tmp_path / f"{number}.dcm",
            template,
            f"{LONGEST_UID[:60]}{number:04d}",
            StudyInstanceUID=value,
            SeriesInstanceUID=value,
        )
        for number, value in enumerate([*filter(str.isascii, HOSTILE), *commands(canary)], 1)
    ]
    paths = [first, *hostile, last]
    outgoing = outgoing_of(paths)
    with adapter_for(remote.target()) as adapter:
        outcomes = list(adapter.send(outgoing))
        adapter.finish(outgoing)
    assert [outcome.number for outcome in outcomes] == list(range(1, len(paths) + 1))
    assert outcomes[0].confirmed
    assert outcomes[-1].confirmed
    sent, received = by_uid(paths), remote.received()
    assert received.items() <= sent.items()
    assert set(received) >= {each.sop_instance_uid for each in outcomes if each.confirmed}
    assert not canary.exists()


def test_a_gigabyte_takes_no_more_memory_than_a_little(remote: Remote, tmp_path: Path) -> None:
    large = tmp_path / "large.dcm"
    write_instance(large, LARGE)
    answer = subprocess.run(
        [sys.executable, SENDER, str(large)],
        input=remote.target().model_dump_json(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert int(answer.stdout) < MOST
    files = remote.files()
    assert sum(path.stat().st_size >= LARGE for path in files) == 1
    for path in (*files, large):  # the directories of the last tests are kept
        path.unlink()


def test_the_file_that_memory_is_measured_with_is_one_instance(tmp_path: Path) -> None:
    meta = write_instance(tmp_path / "small.dcm", 1000)
    content = dataset_bytes(tmp_path / "small.dcm")
    assert by_uid([tmp_path / "small.dcm"]) == {meta.sop_instance_uid: content}
