"""DICOMweb targets: instances go to a server with STOW-RS (PS3.18 10.5), or into a folder."""

from crossdock.protocols.dicomweb.adapter import DicomwebAdapter


__all__ = ["DicomwebAdapter"]
