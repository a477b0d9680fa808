"""The AE that listens: which associations it accepts, and what it answers (PS3.2, PS3.4 A and B)."""

from crossdock.cli.conformance.text import default, joined, named, seconds, setting, table
from crossdock.config import StoreNode
from crossdock.dicom import negotiation
from crossdock.dicom.associate import Associate, Context, Role, UserInformation
from crossdock.dicom.errors import AssociationRejected
from crossdock.dicom.negotiation import MAX_OPERATIONS, Rejection
from crossdock.dicom.status import Status
from crossdock.dicom.storage_scp import StorageScp
from crossdock.dicom.uids import (
    APPLICATION_CONTEXT,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    VERIFICATION,
)


WHEN_ANSWERED = {
    Status.SUCCESS: "the instance and its name are on stable storage (with `sync: instance`, the default)",
    Status.OUT_OF_RESOURCES: "the spool has no room, or cannot be written to; try again later",
    Status.INVALID_SOP_INSTANCE: "the SOP Instance UID is empty, longer than 64 characters, or holds "
    "other characters than letters, digits, `.`, `-` and `_`",
    Status.CANNOT_UNDERSTAND: "a C-STORE that announces no dataset",
    Status.UNRECOGNISED_OPERATION: "a command that is neither C-STORE nor C-ECHO",
    Status.PROCESSING_FAILURE: "a fault of ours; the log has it",
}
"""When the storage SCP answers with which status; a test compares them with its code."""

_WHY_REJECTED = {
    "APPLICATION_CONTEXT_NOT_SUPPORTED": "another application context than DICOM's",
    "CALLING_AE_TITLE_NOT_RECOGNISED": "no source of the store node has this calling AE title, address and certificate",
    "CALLED_AE_TITLE_NOT_RECOGNISED": "another AE title than the store node's, unless `check_called_ae_title` is false",
    "PROTOCOL_VERSION_NOT_SUPPORTED": "the peer does not offer version 1",
    "TEMPORARY_CONGESTION": "less room is left for the spool than its reserve",
    "LOCAL_LIMIT_EXCEEDED": "`max_associations` of the store node or of the source are there already",
    "TEMPORARILY_NO_REASON_GIVEN": "a fault of ours; the log has it",
}
_UNKNOWN_CLASS = "1.2.3.4"


def section() -> str:
    """Return the section on the store node."""
    return joined(
        "## 4 AE: store node",
        _policies(),
        "### 4.2 What is accepted",
        _ACCEPTED,
        "### 4.3 What is negotiated",
        table(("item", "answer"), _negotiated()),
        "### 4.4 When an association is rejected",
        table(("result", "source", "reason", "name", "when"), _rejections()),
        "### 4.5 What is answered to C-STORE and C-ECHO",
        table(("status", "name", "when"), _statuses()),
        _ANSWERS,
    )


def _policies() -> str:
    rows = (
        ("application context", named(APPLICATION_CONTEXT)),
        ("implementation class UID", IMPLEMENTATION_CLASS_UID),
        ("implementation version name", IMPLEMENTATION_VERSION_NAME),
        ("maximum PDU length advertised", f"{default(StorageScp, 'max_pdu')} bytes"),
        ("PDU length of the peer", "any; kept to"),
        (
            "associations at once",
            f"{setting(StoreNode, 'max_associations')} per store node (`max_associations`), and of each source as many as it is given",
        ),
        ("asynchronous operations", f"up to {MAX_OPERATIONS} invoked, performed in their order"),
        ("time for an association request", seconds(default(StorageScp, "acse_timeout"))),
        ("time without progress in a message", seconds(default(StorageScp, "dimse_timeout"))),
        ("time between two messages", seconds(default(StorageScp, "idle_timeout"))),
        ("associations begun", "none"),
    )
    return joined("### 4.1 Association policies", table(("", ""), rows))


_ACCEPTED = f"""
Presentation contexts are accepted for {named(VERIFICATION)}, for storage commitment where [6](#6-storage-commitment) says so, and for **every SOP class
that may be stored**: all that PS3.6 registers for storage ([A](#a-storage-sop-classes), retired ones included), **and every
SOP class that it does not register, private ones included**. Refused (abstract syntax not supported) is only what
PS3.6 registers for another purpose: query, worklist, print and so on, and what is no UID.

**Every transfer syntax** is accepted, private ones included. Of those that a context proposes the *first* is chosen: a sender names first what it
holds, and any other choice would make it convert. All Storage SOP classes are supported at level 2 (full): every attribute, private ones
too, is kept as it was received, byte by byte. No attribute is coerced. A SOP class in a C-STORE that differs from its context's is kept
as sent. Values are not validated.
"""

_ANSWERS = """
A dataset is never refused for what is in it. Instances are kept whatever is sent again: an instance with a SOP Instance UID that was received before is
received once more. Verification is answered with 0000. C-CANCEL is ignored. What breaks off before its last fragment is forgotten.

**Status other than success.** After A700 and 0110 the association goes on, and later instances may be accepted.
"""


def _negotiated() -> list[tuple[str, str]]:
    asked = UserInformation(
        window=(0, 0),
        roles=(Role(_UNKNOWN_CLASS, scu=True, scp=True),),
        extended=((VERIFICATION, b""), (_UNKNOWN_CLASS, b"")),
        identity_answer=True,
    )
    contexts = (Context(1, _UNKNOWN_CLASS, ("1.2.3.5", "1.2.840.10008.1.2")),)
    said = negotiation.answer(Associate(b"", b"", contexts, user=asked), 0)
    (role,), (extended,), window = said.user.roles, said.user.extended, said.user.window
    invoked, performed = window or (1, 1)
    level = ", ".join(f"{byte:02X}" for byte in extended[1])
    identity = "a positive response; it is not looked at" if said.user.identity_answer else "none"
    return [
        (
            "transfer syntaxes of a context: a private one, then Implicit VR Little Endian",
            f"{said.contexts[0].transfer_syntaxes[0]}: the first",
        ),
        (
            "asynchronous window, without a limit asked for",
            f"{invoked} invoked, {performed} performed",
        ),
        (
            "SCP/SCU role selection, both asked for a storage SOP class",
            f"SCU role {'accepted' if role.scu else 'refused'}, SCP role {'accepted' if role.scp else 'refused'}",
        ),
        (
            "SOP class extended negotiation of a storage SOP class",
            f"`{level}`: level 2 (full), level of digital signatures not specified, no coercion (PS3.4 B.3.1)",
        ),
        ("SOP class extended negotiation of others, common extended negotiation", "not answered"),
        ("user identity, with a response asked for", identity),
    ]


def _rejections() -> list[tuple[object, ...]]:
    found = {name: each for name, each in vars(negotiation).items() if isinstance(each, Rejection)}
    return [
        (
            "1 permanent" if each.result == 1 else "2 transient",
            each.source,
            each.reason,
            AssociationRejected(each.result, each.source, each.reason).words,
            _WHY_REJECTED[name],
        )
        for name, each in found.items()
    ]


def _statuses() -> list[tuple[str, str, str]]:
    return [
        (f"{status:04X}", status.name.replace("_", " ").lower(), when)
        for status, when in WHEN_ANSWERED.items()
    ]
