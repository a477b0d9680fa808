"""How the storage SCP answers an association request: a pure decision (PS3.8 7.1, PS3.7 D.3.3).

It takes every SOP class that may be stored, in whatever transfer syntax: a gateway that refuses
what it does not know loses what its targets could have used.
"""

from dataclasses import dataclass

from crossdock.dicom import commitment
from crossdock.dicom.associate import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    PROTOCOL_VERSION,
    TRANSFER_SYNTAXES_NOT_SUPPORTED,
    Associate,
    Context,
    Role,
    UserInformation,
)
from crossdock.dicom.uids import (
    APPLICATION_CONTEXT,
    IMPLICIT_VR_LITTLE_ENDIAN,
    STORAGE_COMMITMENT,
    VERIFICATION,
    is_storage,
    looks_like_uid,
)


MAX_OPERATIONS = 64
"""Widest asynchronous window that is granted: answers that nobody reads stay within a socket."""

_FULL_STORAGE = bytes((2, 0, 0, 0, 0, 0))
"""Level 2 (full), signatures not specified, no element is coerced (PS3.4 B.3.1)."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an association is not accepted: the three numbers of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int
    source: int
    reason: int


APPLICATION_CONTEXT_NOT_SUPPORTED = Rejection(1, 1, 2)
CALLING_AE_TITLE_NOT_RECOGNISED = Rejection(1, 1, 3)
CALLED_AE_TITLE_NOT_RECOGNISED = Rejection(1, 1, 7)
PROTOCOL_VERSION_NOT_SUPPORTED = Rejection(1, 2, 2)
TEMPORARY_CONGESTION = Rejection(2, 3, 1)
LOCAL_LIMIT_EXCEEDED = Rejection(2, 3, 2)
TEMPORARILY_NO_REASON_GIVEN = Rejection(2, 1, 1)


def objection(request: Associate) -> Rejection | None:
    """Return why a request cannot be accepted, whoever it is from; None if it can."""
    if not request.protocol_version & PROTOCOL_VERSION:
        return PROTOCOL_VERSION_NOT_SUPPORTED
    if request.application_context != APPLICATION_CONTEXT:
        return APPLICATION_CONTEXT_NOT_SUPPORTED
    return None


@dataclass(frozen=True, slots=True)
class Commitment:
    """Which roles we take in storage commitment: that of who reports, and that of who asks."""

    answers: bool = False
    hears: bool = False


def answer(
    request: Associate, max_length: int, commitment_roles: Commitment = Commitment()
) -> Associate:
    """Return the A-ASSOCIATE-AC to a request. ``max_length`` is the longest PDU we take.

    Each context gets the first transfer syntax that was proposed for it: senders name first what
    they hold, and any other choice would make them convert. Storage commitment is accepted from a
    requestor that asks if we answer, and from one that would report if we hear reports.
    """
    asked = request.user
    reports = any(each.scp for each in asked.roles if each.sop_class_uid == STORAGE_COMMITMENT)
    commits = commitment_roles.answers or (commitment_roles.hears and reports)
    stored = [(uid, _FULL_STORAGE) for uid, _ in asked.extended if is_storage(uid)]
    return Associate(
        called=request.called,
        calling=request.calling,
        contexts=tuple(_answer_context(context, commits) for context in request.contexts),
        user=UserInformation(
            max_length=max_length,
            window=_answer_window(asked.window),
            roles=tuple(
                _answer_role(role, commitment_roles)
                for role in asked.roles
                if looks_like_uid(role.sop_class_uid)
            ),
            extended=tuple(stored),
            identity_answer=asked.identity_answer,
        ),
    )


def _answer_role(role: Role, roles: Commitment) -> Role:
    if role.sop_class_uid != STORAGE_COMMITMENT:
        return Role(role.sop_class_uid, role.scu, scp=False)
    return Role(role.sop_class_uid, role.scu and roles.answers, role.scp and roles.hears)


def _answer_context(context: Context, commits: bool) -> Context:
    usable = [uid for uid in context.transfer_syntaxes if looks_like_uid(uid)]
    known = context.abstract_syntax == VERIFICATION or is_storage(context.abstract_syntax)
    if context.abstract_syntax == STORAGE_COMMITMENT:
        known = commits
        usable = [uid for uid in usable if uid in commitment.SYNTAXES]
    if not known:
        result, chosen = ABSTRACT_SYNTAX_NOT_SUPPORTED, IMPLICIT_VR_LITTLE_ENDIAN
    elif not usable:
        result, chosen = TRANSFER_SYNTAXES_NOT_SUPPORTED, IMPLICIT_VR_LITTLE_ENDIAN
    else:
        result, chosen = 0, usable[0]
    return Context(context.id, context.abstract_syntax, (chosen,), result)


def _answer_window(asked: tuple[int, int] | None) -> tuple[int, int] | None:
    if asked is None:
        return None
    return min(asked[0] or MAX_OPERATIONS, MAX_OPERATIONS), 1
