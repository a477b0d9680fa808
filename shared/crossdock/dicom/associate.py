"""A-ASSOCIATE-RQ and -AC as values, and back to bytes (PS3.8 9.3.2, 9.3.3; PS3.7 D.3.3).

Reading is tolerant: items that are unknown are skipped, and what cannot be used is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct

from crossdock.dicom.errors import AbortReason, ProtocolError
from crossdock.dicom.uids import (
    APPLICATION_CONTEXT,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
)


ACCEPTANCE = 0
ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED = 4

PROTOCOL_VERSION = 0x0001

_APPLICATION_CONTEXT = 0x10
_CONTEXT_RQ = 0x20
_CONTEXT_AC = 0x21
_ABSTRACT_SYNTAX = 0x30
_TRANSFER_SYNTAX = 0x40
_USER_INFORMATION = 0x50
_MAX_LENGTH = 0x51
_IMPLEMENTATION_CLASS_UID = 0x52
_ASYNCHRONOUS_WINDOW = 0x53
_ROLE_SELECTION = 0x54
_IMPLEMENTATION_VERSION_NAME = 0x55
_EXTENDED_NEGOTIATION = 0x56
_USER_IDENTITY_RQ = 0x58
_USER_IDENTITY_AC = 0x59

_FIXED = Struct(">H2x16s16s32x")
_ITEM = Struct(">BxH")
_PAIR = Struct(">HH")
_LENGTH = Struct(">H")
_MAX_ITEMS = 4096


@dataclass(frozen=True, slots=True)
class Context:
    """One presentation context; in an answer with its result and at most one transfer syntax."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    result: int = ACCEPTANCE


@dataclass(frozen=True, slots=True)
class Role:
    """Which roles the requestor may take for a SOP class (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class UserInformation:
    """What the two users tell each other (PS3.7 D.3.3).

    ``window`` is operations invoked and performed at once, as the requestor sees it; None where
    it was not negotiated. ``identity_answer`` asks for, and is, an answer to a user identity.
    """

    max_length: int = 0
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID
    implementation_version_name: str = IMPLEMENTATION_VERSION_NAME
    window: tuple[int, int] | None = None
    roles: tuple[Role, ...] = ()
    extended: tuple[tuple[str, bytes], ...] = ()
    identity_answer: bool = False


@dataclass(frozen=True, slots=True)
class Associate:
    """An A-ASSOCIATE-RQ or -AC. AE titles are as sent, 16 bytes, since an AC must repeat them."""

    called: bytes
    calling: bytes
    contexts: tuple[Context, ...]
    user: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = PROTOCOL_VERSION

    @property
    def called_ae_title(self) -> str:
        """The called AE title without padding."""
        return read_ae_title(self.called)

    @property
    def calling_ae_title(self) -> str:
        """The calling AE title without padding."""
        return read_ae_title(self.calling)


def read_ae_title(value: bytes) -> str:
    """Return an AE title without padding; what is not printable ASCII reads as ``?``."""
    return _text(value)


def write_ae_title(ae_title: str) -> bytes:
    """Return an AE title as 16 bytes; a longer one is cut."""
    return ae_title.encode("ascii", "replace")[:16].ljust(16)


def decode(body: bytes) -> Associate:
    """Return the request or answer in a PDU's body.

    Raises:
        ProtocolError: its items do not fit into each other.
    """
    version, called, calling = _FIXED.unpack_from(body)
    application_context, contexts, user = "", [], UserInformation()
    for kind, value in _items(body[_FIXED.size :]):
        if kind == _APPLICATION_CONTEXT:
            application_context = _text(value)
        elif kind in (_CONTEXT_RQ, _CONTEXT_AC):
            contexts.append(_decode_context(value))
        elif kind == _USER_INFORMATION:
            user = _decode_user(value)
    return Associate(called, calling, tuple(contexts), user, application_context, version)


def encode_request(associate: Associate) -> bytes:
    """Return the body of an A-ASSOCIATE-RQ."""
    contexts = b"".join(
        _item(
            _CONTEXT_RQ,
            bytes((context.id, 0, 0, 0))
            + _item(_ABSTRACT_SYNTAX, context.abstract_syntax.encode())
            + _transfer_syntaxes(context),
        )
        for context in associate.contexts
    )
    return _encode(associate, contexts, _encode_user(associate.user))


def encode_answer(associate: Associate) -> bytes:
    """Return the body of an A-ASSOCIATE-AC."""
    contexts = b"".join(
        _item(_CONTEXT_AC, bytes((context.id, 0, context.result, 0)) + _transfer_syntaxes(context))
        for context in associate.contexts
    )
    user = _encode_user(associate.user)
    if associate.user.identity_answer:
        user += _item(_USER_IDENTITY_AC, _LENGTH.pack(0))
    return _encode(associate, contexts, user)


def _encode(associate: Associate, contexts: bytes, user: bytes) -> bytes:
    return (
        _FIXED.pack(associate.protocol_version, associate.called, associate.calling)
        + _item(_APPLICATION_CONTEXT, associate.application_context.encode())
        + contexts
        + _item(_USER_INFORMATION, user)
    )


def _transfer_syntaxes(context: Context) -> bytes:
    return b"".join(_item(_TRANSFER_SYNTAX, uid.encode()) for uid in context.transfer_syntaxes)


def _encode_user(user: UserInformation) -> bytes:
    items = [
        _item(_MAX_LENGTH, user.max_length.to_bytes(4, "big")),
        _item(_IMPLEMENTATION_CLASS_UID, user.implementation_class_uid.encode()),
    ]
    if user.window is not None:
        items.append(_item(_ASYNCHRONOUS_WINDOW, _PAIR.pack(*user.window)))
    items += [
        _item(_ROLE_SELECTION, _counted(role.sop_class_uid) + bytes((role.scu, role.scp)))
        for role in user.roles
    ]
    items.append(_item(_IMPLEMENTATION_VERSION_NAME, user.implementation_version_name.encode()))
    items += [_item(_EXTENDED_NEGOTIATION, _counted(uid) + info) for uid, info in user.extended]
    return b"".join(items)


def _decode_context(value: bytes) -> Context:
    if len(value) < _ITEM.size:
        raise _malformed("presentation context item")
    abstract_syntax, transfer_syntaxes = "", []
    for kind, text in _items(value[4:]):
        if kind == _ABSTRACT_SYNTAX:
            abstract_syntax = _text(text)
        elif kind == _TRANSFER_SYNTAX:
            transfer_syntaxes.append(_text(text))
    return Context(value[0], abstract_syntax, tuple(transfer_syntaxes), value[2])


def _decode_user(value: bytes) -> UserInformation:
    single: dict[int, bytes] = {}
    roles, extended = [], []
    for kind, item in _items(value):
        if kind == _ROLE_SELECTION:
            roles += _decode_role(item)
        elif kind == _EXTENDED_NEGOTIATION:
            extended += _decode_extended(item)
        else:
            single[kind] = item
    return UserInformation(
        max_length=int.from_bytes(single.get(_MAX_LENGTH, b"")[:4], "big"),
        implementation_class_uid=_text(single.get(_IMPLEMENTATION_CLASS_UID, b"")),
        implementation_version_name=_text(single.get(_IMPLEMENTATION_VERSION_NAME, b"")),
        window=_decode_window(single.get(_ASYNCHRONOUS_WINDOW, b"")),
        roles=tuple(roles),
        extended=tuple(extended),
        identity_answer=single.get(_USER_IDENTITY_RQ, b"")[1:2] == b"\x01",
    )


def _decode_window(value: bytes) -> tuple[int, int] | None:
    if len(value) < _PAIR.size:
        return None
    invoked, performed = _PAIR.unpack_from(value)
    return invoked, performed


def _decode_role(value: bytes) -> list[Role]:
    uid, rest = _split_counted(value)
    if uid is None or len(rest) < 2:  # noqa: PLR2004 — the two roles
        return []
    return [Role(uid, bool(rest[0]), bool(rest[1]))]


def _decode_extended(value: bytes) -> list[tuple[str, bytes]]:
    uid, rest = _split_counted(value)
    return [] if uid is None else [(uid, rest)]


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    for _ in range(_MAX_ITEMS):
        if position == len(data):
            return
        if len(data) - position < _ITEM.size:
            raise _malformed("item header")
        kind, length = _ITEM.unpack_from(data, position)
        position += _ITEM.size
        if length > len(data) - position:
            raise _malformed(f"item {kind:02X} of length {length}")
        yield kind, data[position : position + length]
        position += length
    raise _malformed(f"number of items, more than {_MAX_ITEMS}")


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _counted(uid: str) -> bytes:
    return _LENGTH.pack(len(uid)) + uid.encode()


def _split_counted(value: bytes) -> tuple[str | None, bytes]:
    if len(value) < _LENGTH.size:
        return None, b""
    end = _LENGTH.size + _LENGTH.unpack_from(value)[0]
    return (None, b"") if end > len(value) else (_text(value[_LENGTH.size : end]), value[end:])


def _text(value: bytes) -> str:
    text = value.decode("latin-1").strip("\0 ")
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)


def _malformed(what: str) -> ProtocolError:
    return ProtocolError(AbortReason.INVALID_PDU_PARAMETER, f"A-ASSOCIATE: a malformed {what}")
