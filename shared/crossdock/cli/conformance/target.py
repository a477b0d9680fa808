"""The AE that sends: what it proposes, and what it makes of the answers (PS3.2, PS3.4 A and B)."""

from typing import get_args

from crossdock.cli.conformance.sample import CT, outgoing
from crossdock.cli.conformance.text import joined, limits, named, seconds, setting, table
from crossdock.config.targets import DicomTarget, StorageScpTarget
from crossdock.config.targets.dicom import Conversion
from crossdock.dicom.errors import (
    AssociationAborted,
    AssociationRejected,
    PeerTimeout,
    PeerUnreachable,
    TlsFailed,
)
from crossdock.dicom.status import describe
from crossdock.dicom.storage_scu import MAX_CONTEXTS
from crossdock.dicom.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    TRANSFER_SYNTAXES,
    VERIFICATION,
)
from crossdock.errors import DeliveryError, DicomError
from crossdock.protocols.dicom.failures import failure
from crossdock.protocols.dicom.offering import judge
from crossdock.protocols.dicom.offering import proposals as proposed_for
from crossdock.protocols.dicom.storage_classes import CLASSES, proposals
from dispatcher.retry import AWAY, COUNTED, ERROR_CLASSES, ErrorClass, Failure, RetryPolicy


_RECEIVED = (
    0x0000, 0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007, 0xBFFF, 0xA700, 0xA7FF, 0xA900, 0xA9FF,
    0xC000, 0xCFFF, 0x0110, 0x0111, 0x0117, 0x0122, 0x0124, 0x0210, 0x0211, 0x0212, 0xFFFF,
)  # fmt: skip
_REJECTIONS = (
    (1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 1, 7), (1, 2, 1), (1, 2, 2), (2, 1, 1), (2, 2, 1),
    (2, 3, 1), (2, 3, 2), (1, 3, 1), (1, 3, 2),
)  # fmt: skip
_PLAIN = DicomTarget(name="target", type="dicom", host="host", port=104, called_ae_title="PEER")
_CHOICES = ", ".join(f"`{name}`" for name in get_args(Conversion) if name != "keep")
_JPEG = TRANSFER_SYNTAXES["jpeg-lossless"]


def section() -> str:
    """Return the section on DICOM targets."""
    return joined(
        "## 5 AE: DICOM target",
        "### 5.1 Association policies",
        _policies(),
        "### 5.2 What is sent",
        _SENT,
        table(
            ("presentation context", "SOP class", "transfer syntaxes"),
            _contexts(proposed_for(_PLAIN, (CT, _JPEG))),
        ),
        _CONVERTED,
        "### 5.3 What is proposed in a check",
        _CHECK.format(count=len(CLASSES)),
        table(("SOP class",), ((named(uid),) for uid in CLASSES)),
        table(
            ("CT Image Storage, in a context of its own each",),
            ((named(uids[0]),) for _, uids in proposals(_PLAIN)[len(CLASSES) :]),
        ),
        "### 5.4 What the answers to C-STORE mean",
        table(("status", "the instance is", "the delivery"), map(_status, _RECEIVED)),
        _AFTER,
        "### 5.5 What the end of an association means",
        table(("what happens", "kind", "the delivery"), _ends()),
        _again(RetryPolicy()),
    )


def _policies() -> str:
    target = StorageScpTarget
    return table(
        ("", ""),
        (
            ("implementation class UID", IMPLEMENTATION_CLASS_UID),
            ("implementation version name", IMPLEMENTATION_VERSION_NAME),
            (
                "maximum PDU length offered",
                f"{setting(target, 'max_pdu')} bytes (`max_pdu`, {limits(target, 'max_pdu')})",
            ),
            ("PDU length of the peer", "kept to; without a limit, our own"),
            (
                "associations side by side",
                (f"{setting(target, 'associations')} per delivery (`associations`, {limits(target, 'associations')}), and "
                f"{setting(target, 'concurrency')} delivery at a time per dispatcher (`concurrency`, {limits(target, 'concurrency')})"),
            ),
            (
                "asynchronous operations",
                (f"{setting(target, 'window')} invoked asked for (`window`, {limits(target, 'window')}), 1 performed; as many as the "
                "peer grants are used, and one where it does not answer"),
            ),
            ("presentation contexts", f"at most {MAX_CONTEXTS}; what needs more goes over several associations, one after the other"),
            ("time for the connection", f"{seconds(setting(target, 'connect_timeout'))} (`connect_timeout`)"),
            ("time for each answer, and without progress", f"{seconds(setting(target, 'timeout'))} (`timeout`)"),
            ("association kept for the next delivery", "while the target's queue has work"),
            ("role selection, extended negotiation, user identity", "not proposed"),
            ("associations accepted", "none, but for results of storage commitment at a store node"),
        ),
    )  # fmt: skip


_SENT = f"""
What is proposed are the SOP classes of the instances of a delivery, whatever they are ([A](#a-storage-sop-classes), private ones included); each pair of SOP class
and transfer syntax is a presentation context of its own. `transfer_syntaxes` limits what is proposed. {named(VERIFICATION)} is proposed in checks only.
For CT images in JPEG Lossless, with the default settings:
"""

_CONVERTED = f"""
The last one is there for a peer that refuses the first: then the instance is sent uncompressed, and its outcome says so; `convert_refused: false` at the
target leaves it out, and what the peer refuses is refused. `convert_to` proposes another one before them: {_CHOICES}; never a lossy one.

**What converting changes.** Pixel data, the transfer syntax and what describes both; decompressing makes colour RGB. SOP Instance UIDs stay, since no
information is lost. Otherwise a dataset goes out byte by byte as it came; one of odd length gets the zero byte that PS3.8 asks for. File meta information is not sent.
"""

_CHECK = """
A check (by the clock, by `crossdock check`, or before a target is saved) sends C-ECHO if the peer accepts Verification, and proposes {count} storage SOP classes, each in
Explicit and Implicit VR Little Endian, to say which of them the peer takes. It stores nothing.
"""

_AFTER = """
An instance that the peer refuses does not keep the others of its delivery from being sent. What a peer has confirmed is not sent again.
"""


def _contexts(proposed: list[tuple[str, tuple[str, ...]]]) -> list[tuple[object, str, str]]:
    return [
        (number, named(sop_class), " or ".join(map(named, uids)))
        for number, (sop_class, uids) in enumerate(proposed, 1)
    ]


def _status(status: int) -> tuple[str, str, str]:
    """Return what becomes of an instance that a peer answers with a status."""
    try:
        found = judge(outgoing(), status)
    except DeliveryError as error:
        return describe(status), "not sent", _becomes(Failure.of(error).error_class)
    if found.confirmed:
        warning = found.outcome.value == "warning"
        return describe(status), f"delivered{', with a warning' if warning else ''}", "goes on"
    return describe(status), found.outcome.value, _becomes(COUNTED)


def _becomes(error_class: ErrorClass) -> str:
    if error_class is COUNTED:
        return "goes on with the others; what was refused is tried again, and held in the end"
    if error_class is AWAY:
        return "waits until the target is well again, however long"
    return "waits until somebody mends the target or its settings"


def _ends() -> list[tuple[str, str, str]]:
    lost: list[tuple[str, DicomError]] = [
        ("no connection", PeerUnreachable("connect", "")),
        ("no answer in time", PeerTimeout("", 0.0)),
        ("A-ABORT, or the connection is lost", AssociationAborted("")),
        ("the two do not agree about TLS", TlsFailed("")),
    ]
    rejected = [AssociationRejected(*numbers) for numbers in _REJECTIONS]
    said = [
        (f"A-ASSOCIATE-RJ {each.result}/{each.source}/{each.reason}: {each.words}", each)
        for each in rejected
    ]
    return [(words, *_end(error)) for words, error in (*lost, *said)]


def _end(error: DicomError) -> tuple[str, str]:
    found = Failure.of(failure(error))
    return found.kind.value, _becomes(found.error_class)


def _again(policy: RetryPolicy) -> str:
    delays = ", ".join(map(seconds, policy.refused))
    counted = [kind.value for kind, (_, lasting) in ERROR_CLASSES.items() if lasting is COUNTED]
    return f"""
**When it is tried again.** A target that is away is left alone for {seconds(policy.first)}, doubling to {seconds(policy.pause)}; one that somebody must mend for
{seconds(policy.first_mend)}, doubling to {seconds(policy.longest)}. Neither counts. What counts ({", ".join(counted)}) is tried again after {delays},
and held for a person after {len(policy.refused) + 1} attempts in all. Nothing is given up by itself.
"""
