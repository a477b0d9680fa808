"""SFTP targets: instances become files of an SFTP server."""

from crossdock.protocols.sftp.adapter import SftpAdapter


__all__ = ["SftpAdapter"]
