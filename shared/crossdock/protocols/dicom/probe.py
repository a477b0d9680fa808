"""Whether a peer speaks TLS or plain DICOM, for targets that are configured for the other."""

import socket

from crossdock.config.targets import StorageScpTarget
from crossdock.dicom.errors import AssociationAborted, AssociationRejected
from crossdock.dicom.storage_scu import StorageScu
from crossdock.dicom.uids import IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from crossdock.errors import DicomError
from crossdock.protocols.dicom.routes import Route


_LONGEST_SECONDS = 5.0
_TLS_RECORDS = (0x15, 0x16)  # alert, handshake: RFC 8446 5.1

# A ClientHello for TLS 1.2 without extensions, which any server of TLS answers in TLS, if only by
# an alert: RFC 5246 7.4.1.2.
_HELLO = (
    bytes.fromhex("16 0301 0031 01 00002d 0303")
    + bytes(32)
    + bytes.fromhex("00 0006 c02f c030 009c 01 00")
)


def answers_in_tls(target: StorageScpTarget, route: Route) -> bool:
    """Whether the peer answers a TLS handshake in TLS."""
    seconds = min(target.timeout, _LONGEST_SECONDS)
    try:
        with socket.create_connection((route.host, target.port), seconds) as sock:
            sock.sendall(_HELLO)
            return sock.recv(1)[:1] in (bytes((kind,)) for kind in _TLS_RECORDS)
    except OSError:
        return False


def answers_in_plain(target: StorageScpTarget, route: Route) -> bool:
    """Whether the peer answers an association request without TLS in DICOM, with a yes or a no."""
    seconds = min(target.timeout, _LONGEST_SECONDS)
    scu = StorageScu(
        route.host,
        target.port,
        called_ae_title=route.called_ae_title,
        calling_ae_title=route.calling_ae_title,
        connect_timeout=seconds,
        acse_timeout=seconds,
    )
    try:
        scu.associate([(VERIFICATION, [IMPLICIT_VR_LITTLE_ENDIAN])])
    except AssociationRejected:
        return True
    except AssociationAborted as error:
        return error.source is not None
    except DicomError:
        return False
    finally:
        scu.release()
    return True
