"""Puts files into a bucket: ``s3_put.py HOW URL BUCKET LIST``, HOW being crossdock or boto3.

boto3 is a loop over ``upload_file`` with four threads, each file to a key of its own. It prints wall
and CPU seconds from the first file on, and the bytes of memory above those before, for a gateway
does not start an interpreter for each delivery.
"""

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config

from crossdock.config.snapshot import parse_object
from crossdock.dicom.part10 import read_file_meta
from crossdock.model import Instance
from crossdock.protocols import Outgoing, adapter_for


_THREADS = 4
_BESIDE = "boto3/1.2.826.0.1.3680043.8.498.1/1.2.826.0.1.3680043.8.498.12"  # as deep as ours
_KEYS = ("adminkey", "admin-s3cret")

Send = Callable[[], None]


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
        "name": "bench",
        "type": "s3",
        "endpoint": url,
        "bucket": bucket,
        "prefix": "crossdock",
        "access_key": _KEYS[0],
        "secret_key": _KEYS[1],
        "transfers": _THREADS,
    }
    adapter = adapter_for(parse_object("targets", settings))  # type: ignore[arg-type]  # a target
    outgoing = [_outgoing(number, path) for number, path in enumerate(paths, 1)]
    if not adapter.check().green:
        raise SystemExit(adapter.check())

    def send() -> None:
        if not all([each.confirmed for each in adapter.send(outgoing)]):  # noqa: C419 — send all
            raise SystemExit("not all were stored")
        adapter.finish(outgoing)

    return send


def _outgoing(number: int, path: Path) -> Outgoing:
    meta = read_file_meta(path)
    instance = Instance(
        number=number,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        size=path.stat().st_size,
        calling_ae_title="BENCHMARK",
        called_ae_title="CROSSDOCK",
        address="127.0.0.1",
    )
    return Outgoing(instance, path)


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def main(how: str, url: str, bucket: str, listed: str) -> None:
    """Put the files there."""
    paths = [Path(line) for line in Path(listed).read_text().splitlines()]
    send = (by_boto3 if how == "boto3" else by_crossdock)(url, bucket, paths)
    idle, before, began = (
        _memory("VmRSS"),
        resource.getrusage(resource.RUSAGE_SELF),
        time.perf_counter(),
    )
    send()
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(seconds, used, _memory("VmHWM") - idle)


if __name__ == "__main__":
    main(*sys.argv[1:])
