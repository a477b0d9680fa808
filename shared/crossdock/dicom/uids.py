"""The UIDs that the data plane must know, and how it judges those that it does not know."""

import re
from functools import lru_cache

import crossdock
from crossdock.dicom.dictionary import name_of_uid, type_of_uid


APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

TRANSFER_SYNTAXES = {
    "implicit-vr-little-endian": IMPLICIT_VR_LITTLE_ENDIAN,
    "explicit-vr-little-endian": EXPLICIT_VR_LITTLE_ENDIAN,
    "deflated-explicit-vr-little-endian": DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    "explicit-vr-big-endian": EXPLICIT_VR_BIG_ENDIAN,
    "jpeg-baseline": "1.2.840.10008.1.2.4.50",
    "jpeg-extended": "1.2.840.10008.1.2.4.51",
    "jpeg-lossless-process-14": "1.2.840.10008.1.2.4.57",
    "jpeg-lossless": "1.2.840.10008.1.2.4.70",
    "jpeg-ls-lossless": "1.2.840.10008.1.2.4.80",
    "jpeg-ls-near-lossless": "1.2.840.10008.1.2.4.81",
    "jpeg-2000-lossless": "1.2.840.10008.1.2.4.90",
    "jpeg-2000": "1.2.840.10008.1.2.4.91",
    "mpeg2": "1.2.840.10008.1.2.4.100",
    "mpeg4": "1.2.840.10008.1.2.4.102",
    "hevc": "1.2.840.10008.1.2.4.107",
    "htj2k-lossless": "1.2.840.10008.1.2.4.201",
    "htj2k": "1.2.840.10008.1.2.4.203",
    "rle-lossless": "1.2.840.10008.1.2.5",
}
"""Names for people; any other transfer syntax goes by its UID (PS3.6 A)."""

IMPLEMENTATION_CLASS_UID = "2.25.80834479884069824835820948923735530905"
IMPLEMENTATION_VERSION_NAME = f"CROSSDOCK_{crossdock.__version__}"[:16]

_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_NOT_STORED = ("Commitment", "Storage Management", "Media Storage Directory", "Information Model")
_UID = re.compile(r"[0-9][0-9.]{0,63}")


def looks_like_uid(text: str) -> bool:
    """Whether a text is made of a UID's characters, at most 64 of them (PS3.5 9.1).

    Leading zeros and empty components are let through: devices that send them exist.
    """
    return _UID.fullmatch(text) is not None


def is_uncompressed(transfer_syntax_uid: str) -> bool:
    """Whether pixels lie as they are in a transfer syntax; deflating the whole is no compression."""
    return transfer_syntax_uid in (
        IMPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_LITTLE_ENDIAN,
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_BIG_ENDIAN,
    )


@lru_cache(maxsize=1024)
def is_storage(sop_class_uid: str) -> bool:
    """Whether instances of a SOP class can be stored; unknown and private ones are taken to be.

    Only what the standard registers for another purpose is not: verification, query, worklist,
    print, commitment and the like, transfer syntaxes and everything else that is no SOP class.
    """
    if not looks_like_uid(sop_class_uid):
        return False
    kind, name = type_of_uid(sop_class_uid), name_of_uid(sop_class_uid)
    if not kind:  # not in the registry
        return True
    if kind != "SOP Class" or any(words in name for words in _NOT_STORED):
        return False
    return "Storage" in name or sop_class_uid.startswith(_STORAGE_ROOT)
