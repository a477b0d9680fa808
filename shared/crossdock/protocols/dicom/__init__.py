"""DICOM targets: instances go to a storage SCP with C-STORE (PS3.4 B)."""

from crossdock.protocols.dicom.adapter import DicomAdapter


__all__ = ["DicomAdapter"]
