"""What a check asks a peer to store: the storage classes that hospitals have most of."""

from collections.abc import Collection
from typing import Protocol

from crossdock.config.targets import StorageScpTarget
from crossdock.dicom.convert import UNCOMPRESSED
from crossdock.dicom.dictionary import name_of_uid
from crossdock.dicom.uids import TRANSFER_SYNTAXES
from crossdock.protocols.dicom.offering import Proposal


_ROOT = "1.2.840.10008.5.1.4.1.1."
_IMAGES = tuple(
    _ROOT + end
    for end in (
        "1",  # computed radiography
        "1.1",  # digital X-ray
        "1.2",  # mammography
        "1.3",  # intra-oral X-ray
        "13.1.3",  # breast tomosynthesis
        "2",  # CT
        "2.1",
        "3.1",  # ultrasound, several frames
        "4",  # MR
        "4.1",
        "6.1",  # ultrasound
        "7",  # secondary capture
        "7.2",
        "7.4",
        "12.1",  # angiography
        "12.2",  # fluoroscopy
        "20",  # nuclear medicine
        "128",  # PET
        "130",
        "77.1.1",  # visible light
        "77.1.4",
        "77.1.5.1",  # ophthalmology
        "77.1.6",  # whole slide
        "481.1",  # radiotherapy
    )
)
_OTHERS = tuple(
    _ROOT + end
    for end in (
        "9.1.1",  # ECG
        "11.1",  # presentation state
        "66.4",  # segmentation
        "88.11",  # structured reports
        "88.22",
        "88.33",
        "88.59",  # key objects
        "88.67",  # dose
        "104.1",  # PDF
        "481.2",  # radiotherapy
        "481.3",
        "481.5",
    )
)
CLASSES = (*_IMAGES, *_OTHERS)
_CT = _ROOT + "2"
_USUAL = (
    "jpeg-baseline",
    "jpeg-lossless",
    "jpeg-ls-lossless",
    "jpeg-2000-lossless",
    "jpeg-2000",
    "rle-lossless",
)
_MOST_NAMED = 8


class Peer(Protocol):
    """Who has answered the proposals."""

    def accepted(self, sop_class_uid: str, transfer_syntax_uid: str) -> bool:
        """Whether the peer takes instances of a SOP class in a transfer syntax."""


def _compressed(target: StorageScpTarget) -> list[str]:
    """Return the compressed transfer syntaxes that are worth asking for."""
    asked = [TRANSFER_SYNTAXES[name] for name in _USUAL]
    if target.proposed is not None:
        return [uid for uid in sorted(target.proposed) if uid not in UNCOMPRESSED]
    return asked


def _uncompressed(target: StorageScpTarget) -> tuple[str, ...]:
    allowed = target.proposed
    return tuple(uid for uid in UNCOMPRESSED if allowed is None or uid in allowed)


def proposals(target: StorageScpTarget) -> list[Proposal]:
    """Return what to propose: each class uncompressed, and CT in each usual transfer syntax.

    Where the target's settings allow no uncompressed one, each class is proposed in all allowed.
    """
    alone = _uncompressed(target)
    asked: list[Proposal] = [(uid, alone or tuple(_compressed(target))) for uid in CLASSES]
    return asked + [(_CT, (uid,)) for uid in _compressed(target)]


def accepted(target: StorageScpTarget, peer: Peer) -> list[str]:
    """Return the classes that a peer takes."""
    syntaxes = (*_uncompressed(target), *_compressed(target))
    return [uid for uid in CLASSES if any(peer.accepted(uid, syntax) for syntax in syntaxes)]


def words(target: StorageScpTarget, peer: Peer, taken: Collection[str]) -> str:
    """Return what a peer takes, for people."""
    found = f"accepts {len(taken)} of {len(CLASSES)} storage classes"
    missing = [_short(uid) for uid in CLASSES if uid not in taken]
    if missing:
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        found += f"; not: {', '.join(missing[:_MOST_NAMED])}{more}"
    syntaxes = [_label(uid) for uid in _compressed(target) if peer.accepted(_CT, uid)]
    return f"{found}; CT also in {', '.join(syntaxes)}" if syntaxes else found


def _short(uid: str) -> str:
    return (
        name_of_uid(uid).replace(" Image Storage", "").replace(" Storage", "").partition(" - ")[0]
    )


def _label(uid: str) -> str:
    names = {known: name for name, known in TRANSFER_SYNTAXES.items()}
    return names.get(uid, uid)
