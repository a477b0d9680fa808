"""Storage commitment in both roles (PS3.4 J)."""

from crossdock.cli.conformance.text import joined, named, seconds, setting, table
from crossdock.config.store_nodes import NodeCommitment
from crossdock.config.targets.dicom import TargetCommitment
from crossdock.dicom import dimse
from crossdock.dicom.commitment import (
    ALL_COMMITTED,
    MAX_BYTES,
    MAX_REFERENCES,
    REQUEST_ACTION,
    SOME_FAILED,
    SYNTAXES,
)
from crossdock.dicom.status import Status, describe
from crossdock.dicom.uids import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from receiver.commitment_reports import Patience


ANSWERED = {
    Status.SUCCESS: "the request, or the result, is on stable storage",
    Status.SOP_CLASS_NOT_SUPPORTED: "a request, where the store node has no `commitment`",
    Status.NO_SUCH_SOP_CLASS: "the command names another SOP class",
    Status.NO_SUCH_OBJECT_INSTANCE: "the command names another instance than the well-known one",
    Status.NO_SUCH_ACTION: f"a request of another action type than {REQUEST_ACTION}",
    Status.NO_SUCH_EVENT_TYPE: f"a result of another event type than {ALL_COMMITTED} and {SOME_FAILED}",
    Status.MISTYPED_ARGUMENT: "no dataset",
    Status.INVALID_ARGUMENT_VALUE: "a dataset that is no statement on commitment, a request without instances, or a result for "
    "a transaction that nobody waits for",
    Status.RESOURCE_LIMITATION: f"more than {MAX_REFERENCES} instances or {MAX_BYTES} bytes, or too many open requests of one "
    "address",
    Status.UNRECOGNISED_OPERATION: "another command",
    Status.PROCESSING_FAILURE: "it cannot be kept, or a fault of ours",
}
"""What N-ACTION and N-EVENT-REPORT are answered with; a test compares them with the code."""

REASONS = {
    Status.NO_SUCH_OBJECT_INSTANCE: "no such instance is in the spool",
    Status.CLASS_INSTANCE_CONFLICT: "it is there with another SOP class",
    Status.PROCESSING_FAILURE: "too few targets have confirmed it in time",
}
"""Why an instance is not committed; compared as above."""


def section() -> str:
    """Return the section on storage commitment."""
    return joined(
        "## 6 Storage commitment",
        (
            f"{named(STORAGE_COMMITMENT)}, instance {STORAGE_COMMITMENT_INSTANCE}, in {' or '.join(map(named, SYNTAXES))}. Commands: "
            f"N-ACTION (action type {REQUEST_ACTION}), N-EVENT-REPORT (event types {ALL_COMMITTED} and {SOME_FAILED})."
        ),
        "### 6.1 As provider: a store node",
        _provider(),
        table(("reason", "an instance is reported as failed when"), _lines(REASONS)),
        "### 6.2 As user: a DICOM target",
        _user(),
        "### 6.3 What N-ACTION and N-EVENT-REPORT are answered with",
        table(("status", "when"), _lines(ANSWERED)),
    )


def _lines(words: dict[Status, str]) -> list[tuple[str, str]]:
    return [(describe(status), when) for status, when in words.items()]


def _provider() -> str:
    patience, wait = Patience(), setting(NodeCommitment, "wait_seconds")
    return f"""
A store node with `commitment` takes requests of whoever may send to it. An instance is committed when it is on stable storage here and, with `targets: N`, when N targets
have confirmed it; that is waited for up to {seconds(wait)} (`wait_seconds`). **What is committed is kept until its targets have it**, not for good: Crossdock is a
gateway, and deletes what is delivered after its retention.

The result goes over the requester's own association if it is still there, otherwise over one that Crossdock begins, in the role of the SCP (role selection: SCU 0, SCP 1), to the
address that the request came from (or `commitment_host`) at port {setting(NodeCommitment, "port")} (`port`, `commitment_port`), with the AE titles of the request
exchanged; with TLS if the node's `commitment` has it. First after {seconds(patience.first)}; a requester that cannot be told is tried again after
{seconds(patience.again)}, doubling to {seconds(patience.longest)}, and given up {seconds(patience.give_up)} after the time for the result.
"""


def _user() -> str:
    wait, again = setting(TargetCommitment, "wait_seconds"), setting(TargetCommitment, "ask_again")
    same = setting(TargetCommitment, "same_association_seconds")
    actions = f"{dimse.N_ACTION_RQ:04X}H", f"{dimse.N_EVENT_REPORT_RQ:04X}H"
    return f"""
A target with `commitment` is asked once all instances of a delivery are stored there, over an association of its own, by one N-ACTION ({actions[0]}) for each pair of AE titles. The result (N-EVENT-REPORT, {actions[1]}) is
taken over that association for {seconds(same)} (`same_association_seconds`), and later over an association that the peer begins to any store node that admits it and has the
AE title that asked. Such an association is accepted if it asks for the SCP role of storage commitment, whether the node takes requests or not.
Without a result in {seconds(wait)} (`wait_seconds`) it is asked again, {again} times (`ask_again`). What is not committed then, or reported as failed, is sent again
with `delivered_means: committed`, and is a remark on the delivery otherwise.
"""
