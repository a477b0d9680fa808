"""The remote of each protocol: one without a class here keeps no promise."""

from contract.remotes import DicomRemote, FolderRemote, Remote
from contract.remotes_dicom import DicomTlsRemote
from contract.remotes_dicomweb import DicomwebRemote
from contract.remotes_s3 import S3Remote
from contract.remotes_ssh import RsyncRemote, SftpRemote
from contract.remotes_xnat import XnatRemote


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
