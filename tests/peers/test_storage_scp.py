"""Our storage SCP, with the senders that people use."""

import ssl
import threading
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.filereader import read_dataset
from pydicom.uid import UID
from pynetdicom import AE, build_context
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from crossdock.dicom.header import read_keywords
from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.status import Status
from crossdock.dicom.storage_scp import (
    CALLED_AE_TITLE_NOT_RECOGNISED,
    CALLING_AE_TITLE_NOT_RECOGNISED,
    Rejection,
    StorageScp,
)
from crossdock.errors import SpoolError
from servers.certificates import make_certificate
from servers.dcmtk import run
from servers.keeper import Keeper, keeping
from servers.samples import NAMES, dataset_of, sample, write_instance
from waiting import until


CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"


def elements_of(data: bytes, transfer_syntax_uid: str) -> list[tuple[int, object]]:
    """Return the elements, without the padding that DCMTK's senders leave out."""
    if transfer_syntax_uid == DEFLATED:
        data = zlib.decompress(data, -zlib.MAX_WBITS)
    implicit, little = transfer_syntax_uid == IMPLICIT, transfer_syntax_uid != BIG_ENDIAN
    ds = read_dataset(BytesIO(data), implicit, little)
    return [(int(element.tag), element.value) for element in ds if element.tag != 0xFFFCFFFC]


def port_of(scp: StorageScp) -> str:
    return str(scp.address[1])


def test_echoscu_is_answered() -> None:
    keeper = Keeper()
    with keeping(keeper) as scp:
        done = run("echoscu", "-v", "-aet", "CT1", "-aec", "GATE", "127.0.0.1", port_of(scp))
        assert done.returncode == 0, done.stdout
        until(lambda: keeper.balanced and keeper.over)
    (caller,) = keeper.admitted
    assert (caller.calling_ae_title, caller.called_ae_title) == ("CT1", "GATE")
    assert caller.address == "127.0.0.1"
    assert caller.port > 0


@pytest.mark.parametrize("name", [name for name in NAMES if "bigendian" not in name])
def test_dcmsend_delivers_every_transfer_syntax(name: str) -> None:
    path = sample(name)
    meta = read_file_meta(path)
    keeper = Keeper()
    with keeping(keeper) as scp:
        done = run("dcmsend", "-v", "--decompress-never", "127.0.0.1", port_of(scp), path)
        assert done.returncode == 0, done.stdout
        until(lambda: keeper.balanced and keeper.over)
    (kept,) = keeper.instances
    assert kept.state == "committed"
    assert kept.sop_class_uid == meta.sop_class_uid
    assert kept.sop_instance_uid == read_keywords(path, ["SOPInstanceUID"])["SOPInstanceUID"]
    assert elements_of(bytes(kept.data), kept.transfer_syntax_uid) == elements_of(
        dataset_of(path), meta.transfer_syntax_uid
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_a_sender_does_not_touch_arrives_byte_for_byte(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pynetdicom._config.STORE_SEND_CHUNKED_DATASET", True)
    meta = read_file_meta(sample(name))
    keeper = Keeper()
    with keeping(keeper) as scp:
        contexts = [build_context(meta.sop_class_uid, meta.transfer_syntax_uid)]
        assoc = AE("PYNET").associate(*scp.address, contexts=contexts)
        assert assoc.send_c_store(sample(name)).Status == Status.SUCCESS
        assoc.release()
    assert keeper.committed == {meta.sop_instance_uid: dataset_of(sample(name))}


def test_storescu_delivers_big_endian() -> None:
    path = sample("MR_small_bigendian.dcm")
    keeper = Keeper()
    with keeping(keeper) as scp:
        done = run("storescu", "-xb", "127.0.0.1", port_of(scp), path)
        assert done.returncode == 0, done.stdout
    (kept,) = keeper.instances
    assert kept.transfer_syntax_uid == BIG_ENDIAN
    assert elements_of(bytes(kept.data), BIG_ENDIAN) == elements_of(dataset_of(path), BIG_ENDIAN)


def test_dcmsend_sends_many_files_and_storescu_too(tmp_path: Path) -> None:
    for number in range(20):
        write_instance(tmp_path / f"{number}.dcm", 300_000, number + 1)
    paths = sorted(tmp_path.iterdir())
    for program in ("dcmsend", "storescu"):
        keeper = Keeper()
        with keeping(keeper) as scp:
            done = run(program, "127.0.0.1", port_of(scp), *paths)
            assert done.returncode == 0, done.stdout
            until(lambda: keeper.balanced and keeper.over)  # noqa: B023 — waited for at once
        assert len(keeper.committed) == 20


@pytest.mark.parametrize("max_pdu", [4096, 16384, 131072])
def test_storescu_keeps_to_the_pdu_length_that_we_advertise(tmp_path: Path, max_pdu: int) -> None:
    write_instance(tmp_path / "a.dcm", 1_000_001 * 2)
    keeper = Keeper()
    with keeping(keeper, max_pdu=max_pdu) as scp:
        done = run("storescu", "-xe", "127.0.0.1", port_of(scp), tmp_path / "a.dcm")
        assert done.returncode == 0, done.stdout
    (data,) = keeper.committed.values()
    assert data[-2_000_002:] == dataset_of(tmp_path / "a.dcm")[-2_000_002:]


def test_pynetdicom_gets_every_status_that_the_writer_returns() -> None:
    keeper = Keeper()
    statuses = [Status.SUCCESS, Status.COERCION_OF_DATA_ELEMENTS, Status.OUT_OF_RESOURCES]
    answers = iter(statuses)
    keeper.on_commit = lambda: next(answers)
    ds = pydicom.dcmread(sample("CT_small.dcm"))
    with keeping(keeper) as scp:
        ae = AE("PYNET")
        assoc = ae.associate(*scp.address, contexts=[build_context(CT, EXPLICIT)])
        assert [assoc.send_c_store(ds).Status for _ in statuses] == statuses
        assoc.release()


def test_a_spool_that_cannot_write_answers_a700_and_keeps_the_association() -> None:
    keeper = Keeper()
    ds = pydicom.dcmread(sample("CT_small.dcm"))

    def fail(error: Exception) -> None:
        raise error

    with keeping(keeper) as scp:
        assoc = AE("PYNET").associate(*scp.address, contexts=[build_context(CT, EXPLICIT)])
        keeper.on_write = lambda: fail(OSError(28, "No space left on device"))
        assert assoc.send_c_store(ds).Status == Status.OUT_OF_RESOURCES
        keeper.on_write = lambda: None
        keeper.on_begin = lambda: fail(SpoolError("read-only"))
        assert assoc.send_c_store(ds).Status == Status.OUT_OF_RESOURCES
        keeper.on_begin = lambda: fail(KeyError("a bug"))
        assert assoc.send_c_store(ds).Status == Status.PROCESSING_FAILURE
        keeper.on_begin = lambda: None
        assert assoc.send_c_store(ds).Status == Status.SUCCESS
        assoc.release()
    assert [kept.state for kept in keeper.instances] == ["discarded", "committed"]


def test_a_commit_that_fails_is_no_success() -> None:
    keeper = Keeper()

    def fail() -> int:
        raise OSError(5, "Input/output error")

    keeper.on_commit = fail
    with keeping(keeper) as scp:
        done = run("storescu", "-v", "-xe", "127.0.0.1", port_of(scp), sample("CT_small.dcm"))
    assert "OutOfResources" in done.stdout
    assert [kept.state for kept in keeper.instances] == ["discarded"]


@pytest.mark.parametrize(
    ("rejection", "words"),
    [
        (CALLED_AE_TITLE_NOT_RECOGNISED, "Called AE Title Not Recognized"),
        (CALLING_AE_TITLE_NOT_RECOGNISED, "Calling AE Title Not Recognized"),
    ],
)
def test_a_handler_rejects_in_the_words_of_the_standard(rejection: Rejection, words: str) -> None:
    keeper = Keeper()
    keeper.rejection = rejection
    with keeping(keeper) as scp:
        done = run("echoscu", "127.0.0.1", port_of(scp))
        assert scp.associations() == 0
    assert words in done.stdout
    assert keeper.over == []


def test_more_associations_than_allowed_are_rejected_as_a_temporary_limit() -> None:
    keeper = Keeper()
    with keeping(keeper, max_associations=2) as scp:
        contexts = [build_context(VERIFICATION)]
        held = [AE("PYNET").associate(*scp.address, contexts=contexts) for _ in range(2)]
        until(lambda: scp.associations() == 2)
        done = run("echoscu", "127.0.0.1", port_of(scp))
        assert "Local Limit Exceeded" in done.stdout
        assert "Rejected Transient" in done.stdout
        held[0].release()
        until(lambda: scp.associations() == 1)
        assert run("echoscu", "127.0.0.1", port_of(scp)).returncode == 0
        held[1].release()
        until(lambda: keeper.balanced)


def test_queries_are_refused_and_whatever_may_be_stored_is_accepted() -> None:
    private = ("1.3.12.2.1107.5.9.1", "1.3.12.2.1107.5.9.1.99")
    contexts = [
        build_context(FIND, IMPLICIT),
        build_context(CT, [EXPLICIT, IMPLICIT]),
        build_context(CT, [IMPLICIT, EXPLICIT]),
        build_context(private[0], private[1]),
        build_context("1.2.840.10008.1.20.1", IMPLICIT),
        build_context(VERIFICATION, IMPLICIT),
    ]
    with keeping(Keeper()) as scp:
        assoc = AE("PYNET").associate(*scp.address, contexts=contexts)
        accepted = [(cx.abstract_syntax, cx.transfer_syntax[0]) for cx in assoc.accepted_contexts]
        refused = [(cx.abstract_syntax, cx.result) for cx in assoc.rejected_contexts]
        assoc.release()
    assert accepted == [(CT, EXPLICIT), (CT, IMPLICIT), private, (VERIFICATION, IMPLICIT)]
    assert refused == [(FIND, 3), ("1.2.840.10008.1.20.1", 3)]


def test_extended_negotiation_is_answered_and_stands_in_nobodys_way() -> None:
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\2\0\0\0\0\0"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = CT, "1.2.840.10008.4.2"
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field = 2, b"someone"
    identity.secondary_field, identity.positive_response_requested = b"secret", True
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT, True, True
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 7
    window.maximum_number_operations_performed = 3
    items: list[Any] = [extended, common, identity, role, window]
    with keeping(Keeper()) as scp:
        assoc = AE("PYNET").associate(
            *scp.address, contexts=[build_context(CT, EXPLICIT)], ext_neg=items
        )
        assert assoc.is_established
        answers = assoc.acceptor
        assert answers.asynchronous_operations == (7, 1)
        assert answers.role_selection[UID(CT)].scu_role is True
        assert answers.role_selection[UID(CT)].scp_role is False
        assert answers.sop_class_extended[UID(CT)] == b"\2\0\0\0\0\0"
        assert answers.user_identity is not None
        status = assoc.send_c_store(pydicom.dcmread(sample("CT_small.dcm"))).Status
        assoc.release()
    assert status == Status.SUCCESS


def test_four_senders_at_once_do_not_mix(tmp_path: Path) -> None:
    for number in range(4):
        write_instance(tmp_path / f"{number}.dcm", 2_000_000, number + 1)
    keeper = Keeper()
    with keeping(keeper) as scp:
        arguments = ("storescu", "-xe", "--repeat", "5", "127.0.0.1", port_of(scp))
        threads = [
            threading.Thread(target=run, args=(*arguments, path)) for path in tmp_path.iterdir()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: len(keeper.over) == 20 or keeper.balanced)
    sent = {read_file_meta(path).sop_instance_uid: path for path in tmp_path.iterdir()}
    assert len(keeper.instances) == 20
    for kept in keeper.instances:
        assert bytes(kept.data)[-65536:] == dataset_of(sent[kept.sop_instance_uid])[-65536:]


def test_stop_lets_the_running_instance_finish_and_frees_the_port() -> None:
    keeper = Keeper()
    committing, go_on = threading.Event(), threading.Event()

    def wait() -> int:
        committing.set()
        assert go_on.wait(60)
        return 0

    keeper.on_commit = wait
    scp = StorageScp("127.0.0.1", 0, keeper)
    scp.start()
    outcome = []
    arguments = ("storescu", "-xe", "127.0.0.1", port_of(scp), sample("CT_small.dcm"))
    sender = threading.Thread(target=lambda: outcome.append(run(*arguments)))
    sender.start()
    assert committing.wait(60)
    stopper = threading.Thread(target=scp.stop, args=(20.0,))
    stopper.start()
    go_on.set()
    stopper.join()
    sender.join()
    assert len(keeper.committed) == 1
    assert keeper.balanced
    again = StorageScp("127.0.0.1", scp.address[1], Keeper())
    again.start()
    again.stop()


def test_a_taken_port_is_an_oserror() -> None:
    with keeping(Keeper()) as scp, pytest.raises(OSError, match="use"):
        StorageScp("127.0.0.1", scp.address[1], Keeper()).start()


def test_tls_senders_are_served(tmp_path: Path) -> None:
    key, certificate = make_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    write_instance(tmp_path / "a.dcm", 1_000_000)
    keeper = Keeper()
    with keeping(keeper, tls=lambda: tls) as scp:
        done = run("storescu", "-xe", "+tla", "-ic", "127.0.0.1", port_of(scp), tmp_path / "a.dcm")
        assert done.returncode == 0, done.stdout
        until(lambda: keeper.balanced and keeper.over)
        plain = run("echoscu", "-to", "5", "-ta", "5", "127.0.0.1", port_of(scp))
        assert plain.returncode != 0
    assert len(keeper.committed) == 1
