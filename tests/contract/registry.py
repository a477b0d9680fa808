"""The remote of each protocol: one without a class here keeps no promise."""

from contract.remotes import DicomRemote, FolderRemote, Remote
from contract.remotes_dicom import DicomTlsRemote


REMOTES: dict[str, type[Remote]] = {
    "dicom": DicomRemote,
    "dicom+tls": DicomTlsRemote,
    "folder": FolderRemote,
}
