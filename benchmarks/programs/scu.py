"""Our SCU as a program: ``scu.py PORT WINDOW PDU LIST`` stores the files named in LIST.

It prints wall and CPU seconds from the first file's meta information to the answered release, for
a gateway does not start an interpreter for each delivery.
"""

import resource
import sys
import time
from pathlib import Path

from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.storage_scu import StorageScu


def main(port: int, window: int, pdu: int, paths: list[Path]) -> None:
    """Store the files over one association."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    files = [(path, read_file_meta(path)) for path in paths]
    contexts = list(
        dict.fromkeys((meta.sop_class_uid, meta.transfer_syntax_uid) for _, meta in files)
    )
    with StorageScu(
        "127.0.0.1",
        port,
        called_ae_title="ANY-SCP",
        calling_ae_title="BENCHMARK",
        window=window,
        max_pdu=pdu,
    ) as scu:
        scu.associate([(sop_class, [syntax]) for sop_class, syntax in contexts])
        statuses = set(scu.store_many(files))
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    if statuses != {0}:
        raise SystemExit(f"not all were stored: {statuses}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(seconds, used)


if __name__ == "__main__":
    main(
        int(sys.argv[1]),
        int(sys.argv[2]),
        int(sys.argv[3]),
        [Path(line) for line in Path(sys.argv[4]).read_text().splitlines()],
    )
