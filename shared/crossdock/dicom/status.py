"""The DIMSE status codes that Crossdock answers or understands, each defined once."""

from enum import IntEnum


class Status(IntEnum):
    """Status of a response (PS3.4 B.2.3, PS3.7 C), and why one was not committed (PS3.3 C.14)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    INVALID_ARGUMENT_VALUE = 0x0115
    INVALID_SOP_INSTANCE = 0x0117
    NO_SUCH_SOP_CLASS = 0x0118
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORISED = 0x0124
    DUPLICATE_TRANSACTION_UID = 0x0131
    DUPLICATE_INVOCATION = 0x0210
    UNRECOGNISED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    DATASET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    COERCION_OF_DATA_ELEMENTS = 0xB000
    ELEMENTS_DISCARDED = 0xB006
    WARNING_DATASET_DOES_NOT_MATCH_SOP_CLASS = 0xB007
    CANNOT_UNDERSTAND = 0xC000


def is_warning(status: int) -> bool:
    """Whether the peer stored the instance and added a warning (PS3.7 C.1.3, PS3.4 B.2.3)."""
    return status in (0x0001, 0x0107, 0x0116) or status & 0xF000 == 0xB000  # noqa: PLR2004


def is_out_of_resources(status: int) -> bool:
    """Whether the peer may accept the same instance later (PS3.4 B.2.3: A7xx)."""
    return status & 0xFF00 == Status.OUT_OF_RESOURCES


def describe(status: int) -> str:
    """Return a status for people: ``A700 out of resources``."""
    try:
        return f"{status:04X} {Status(status).name.replace('_', ' ').lower()}"
    except ValueError:
        pass
    if is_out_of_resources(status):
        return f"{status:04X} out of resources"
    if is_warning(status):
        return f"{status:04X} warning"
    if status & 0xFF00 == Status.DATASET_DOES_NOT_MATCH_SOP_CLASS:
        return f"{status:04X} dataset does not match SOP class"
    if status & 0xF000 == Status.CANNOT_UNDERSTAND:
        return f"{status:04X} cannot understand"
    return f"{status:04X}"
