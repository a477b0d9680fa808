"""Our SCU as a program: ``scu.py PORT LIST`` stores the files named in LIST.

What is measured begins with the first file's meta information and ends with the answered release.
"""

import argparse

from measured import listed, measure

from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.storage_scu import StorageScu
from crossdock.dicom.tls import TlsFiles, client_context


def main() -> None:
    """Store the files over one association, and say what it took."""
    arguments = parsed()
    measure(lambda: store(arguments))


def store(arguments: argparse.Namespace) -> None:
    """Store the files; end the program if not all are stored."""
    files = [(path, read_file_meta(path)) for path in arguments.list]
    contexts = list(
        dict.fromkeys((meta.sop_class_uid, meta.transfer_syntax_uid) for _, meta in files)
    )
    with StorageScu(
        "127.0.0.1",
        arguments.port,
        called_ae_title="ANY-SCP",
        calling_ae_title="BENCHMARK",
        window=arguments.window,
        max_pdu=arguments.pdu,
        tls=client_context(files_of(arguments.tls)) if arguments.tls else None,
    ) as scu:
        scu.associate([(sop_class, [syntax]) for sop_class, syntax in contexts])
        statuses = set(scu.store_many(files))
    if statuses != {0}:
        raise SystemExit(f"not all were stored: {statuses}")


def parsed() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("list", type=listed)
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--pdu", type=int, default=131072)
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
    return parser.parse_args()


def files_of(names: list[str]) -> TlsFiles:
    """Return files of which the certificate is its own CA."""
    return TlsFiles(certificate=names[0], key=names[1], ca=names[0])


if __name__ == "__main__":
    main()
