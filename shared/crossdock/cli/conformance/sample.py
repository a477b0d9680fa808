"""An instance to ask the code about, where the statement says what becomes of one."""

from pathlib import Path

from crossdock.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from crossdock.model import Instance
from crossdock.protocols.base import Outgoing


UID = "1.2.3"
CT = "1.2.840.10008.5.1.4.1.1.2"


def outgoing() -> Outgoing:
    """Return an instance on its way to a target; there is no file of it."""
    instance = Instance(
        number=1,
        sop_class_uid=CT,
        sop_instance_uid=UID,
        transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN,
        size=0,
        calling_ae_title="",
        called_ae_title="",
        address="",
    )
    return Outgoing(instance, Path())
