"""The data plane: C-STORE and C-ECHO as bytes that stream, in both roles.

Everything else of DICOM networking is pynetdicom, and of datasets pydicom.
"""
