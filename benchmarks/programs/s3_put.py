"""Puts files into a bucket: ``s3_put.py HOW URL BUCKET LIST``, HOW being crossdock or boto3.

boto3 is a loop over ``upload_file`` with four threads, each file to a key of its own. Either has its
client, and has asked for the bucket, before it is measured.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config
from measured import Send, delivery, listed, measure


_THREADS = 4
_BESIDE = "boto3/1.2.826.0.1.3680043.8.498.1/1.2.826.0.1.3680043.8.498.12"  # as deep as ours
_KEYS = ("adminkey", "admin-s3cret")


def by_boto3(url: str, bucket: str, paths: list[Path]) -> Send:
    """Return what uploads the files as a script would."""
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=_KEYS[0],
        aws_secret_access_key=_KEYS[1],
        config=Config(s3={"addressing_style": "path"}),
    )
    client.head_bucket(Bucket=bucket)

    def upload(path: Path) -> None:
        client.upload_file(str(path), bucket, f"{_BESIDE}/{path.name}")

    def send() -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(upload, paths))

    return send


def by_crossdock(url: str, bucket: str, paths: list[Path]) -> Send:
    """Return what sends the files as one delivery."""
    settings = {
        "type": "s3",
        "endpoint": url,
        "bucket": bucket,
        "prefix": "crossdock",
        "access_key": _KEYS[0],
        "secret_key": _KEYS[1],
        "transfers": _THREADS,
    }
    return delivery(settings, paths)


def main(how: str, url: str, bucket: str, names: str) -> None:
    """Put the files there."""
    send = (by_boto3 if how == "boto3" else by_crossdock)(url, bucket, listed(names))
    measure(send)


if __name__ == "__main__":
    main(*sys.argv[1:])
