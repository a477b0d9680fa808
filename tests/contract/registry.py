"""The remote of each protocol: one without a class here keeps no promise."""

from contract.remotes import DicomRemote, FolderRemote, Remote
from contract.remotes_dicom import DicomTlsRemote
from contract.remotes_dicomweb import DicomwebRemote
from contract.remotes_s3 import S3Remote
from contract.remotes_ssh import RsyncRemote, SftpRemote
from contract.remotes_xnat import XnatRemote
from crossdock.config.targets import MODELS, FileTarget


REMOTES: dict[str, type[Remote]] = {
    "dicom": DicomRemote,
    "dicom+tls": DicomTlsRemote,
    "dicomweb": DicomwebRemote,
    "folder": FolderRemote,
    "rsync": RsyncRemote,
    "s3": S3Remote,
    "sftp": SftpRemote,
    "xnat": XnatRemote,
}


def protocols(kind: type[Remote]) -> list[str]:
    """Return the protocols whose remotes are of a kind: ``Guarded``, ``Secretive``, ``Connected``."""
    return sorted(name for name, remote in REMOTES.items() if issubclass(remote, kind))


def protocols_of_files() -> list[str]:
    """Return the protocols whose targets store files."""
    return sorted(name for name in REMOTES if issubclass(MODELS[name], FileTarget))
