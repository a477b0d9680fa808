"""S3 targets: instances become objects in a bucket, of AWS or of any other store."""

from crossdock.protocols.s3.adapter import S3Adapter


__all__ = ["S3Adapter"]
