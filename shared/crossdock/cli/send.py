"""``crossdock send``: send DICOM files to any storage SCP, this gateway or another."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from crossdock.dicom.part10 import FileMeta, read_file_meta
from crossdock.dicom.status import Status, describe, is_warning
from crossdock.dicom.storage_scu import StorageScu
from crossdock.errors import CrossdockError, DicomError
from crossdock.settings import split_address


MAX_CONTEXTS = 128  # PS3.8 9.3.2.2: odd identifiers from 1 to 255

_DESTINATION = re.compile(r"(?P<title>[^@]{1,16})@(?P<address>.+)")

Sent = Callable[[FileMeta], None]


@dataclass(frozen=True, slots=True)
class Destination:
    """A storage SCP as ``AET@HOST:PORT`` names it."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Destination":
        """Read ``AET@HOST:PORT``.

        Raises:
            ValueError: it is something else.
        """
        match = _DESTINATION.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no AET@HOST:PORT, such as CROSSDOCK@127.0.0.1:11112")
        host, port = split_address(match["address"])
        return cls(match["title"].strip(), host, port)


@dataclass(slots=True)
class Result:
    """What became of the files: how many were stored, and which were not and why."""

    stored: int = 0
    bytes: int = 0
    warnings: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[Path, str]] = field(default_factory=list)

    def take(self, path: Path, meta: FileMeta, status: int | None) -> None:
        """Count the answer to one file; None means that no context was accepted for it."""
        if status is None:
            self.failures.append((path, "the peer does not accept its SOP class and syntax"))
        elif status == Status.SUCCESS or is_warning(status):
            self.stored += 1
            self.bytes += meta.size
            if status != Status.SUCCESS:
                self.warnings[describe(status)] += 1
        else:
            self.failures.append((path, describe(status)))


Found = list[tuple[Path, FileMeta]]


def find_files(paths: Sequence[Path]) -> tuple[Found, list[tuple[Path, str]], int]:
    """Return the DICOM files among ``paths``, those named that are none, and a count.

    A directory is searched with all below it; the count is of its files that are not DICOM.
    """
    found: Found = []
    refused: list[tuple[Path, str]] = []
    passed_over = 0
    for path in paths:
        for file in _files(path):
            try:
                found.append((file, read_file_meta(file)))
            except (DicomError, OSError) as error:
                if path.is_dir():
                    passed_over += 1
                else:
                    refused.append((file, str(error)))
    return found, refused, passed_over


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())
    else:
        yield path


def send_files(files: Found, to: Destination, calling_ae_title: str, sent: Sent) -> Result:
    """Send files over one association, or several where they need over 128 contexts.

    ``sent`` is called after each file.

    Raises:
        CrossdockError: no association, or it broke; some files may have been stored.
    """
    result = Result()
    for batch in _batches(files):
        scu = StorageScu(
            to.host, to.port, called_ae_title=to.ae_title, calling_ae_title=calling_ae_title
        )
        with scu:
            contexts = {(meta.sop_class_uid, meta.transfer_syntax_uid) for _, meta in batch}
            scu.associate([(sop_class, (syntax,)) for sop_class, syntax in sorted(contexts)])
            for path, meta in batch:
                accepted = scu.accepted(meta.sop_class_uid, meta.transfer_syntax_uid)
                result.take(path, meta, scu.store(path, meta) if accepted else None)
                sent(meta)
            scu.release()
    return result


def _batches(files: Found) -> Iterator[Found]:
    batch: Found = []
    contexts: set[tuple[str, str]] = set()
    for path, meta in files:
        context = (meta.sop_class_uid, meta.transfer_syntax_uid)
        if context not in contexts and len(contexts) == MAX_CONTEXTS:
            yield batch
            batch, contexts = [], set()
        contexts.add(context)
        batch.append((path, meta))
    if batch:
        yield batch


def send(
    to: Annotated[str, typer.Option(help="Where to: AET@HOST:PORT.")],
    paths: Annotated[
        list[Path] | None, typer.Argument(exists=True, help="DICOM files, or directories of them.")
    ] = None,
    calling: Annotated[str, typer.Option(help="The AE title to call with.")] = "CROSSDOCK-SEND",
    demo: Annotated[bool, typer.Option("--demo", help="Send a made-up CT study.")] = False,
) -> None:
    """Send DICOM files with C-STORE and say what became of each."""
    console = Console()
    try:
        destination = Destination.parse(to)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None
    if demo == bool(paths):
        raise typer.BadParameter("name files, or say --demo", param_hint="PATHS")
    with _study(paths or []) as chosen:
        _send(console, chosen, destination, calling)


@contextmanager
def _study(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """Give the paths, or where there are none the demo's study for as long as the block lasts."""
    if paths:
        yield paths
        return
    from crossdock.cli.demo_study import write_study  # noqa: PLC0415 — pydicom takes a second

    with TemporaryDirectory(prefix="crossdock-demo-") as directory:
        yield write_study(Path(directory))


def _send(console: Console, paths: Sequence[Path], to: Destination, calling: str) -> None:
    files, refused, passed_over = find_files(paths)
    if passed_over:
        console.print(f"{passed_over} files are not DICOM and were passed over.", markup=False)
    for path, reason in refused:
        console.print(f"not sent: {path}: {reason}", style="red", markup=False)
    if not files:
        console.print("There is no DICOM file to send.", style="red")
        raise typer.Exit(1)
    try:
        result = _send_with_progress(console, files, to, calling)
    except CrossdockError as error:
        console.print(f"{to}: {error}", style="red", markup=False)
        raise typer.Exit(1) from None
    _report(console, result, str(to))
    if refused or result.failures:
        raise typer.Exit(1)


def _send_with_progress(
    console: Console, files: Found, to: Destination, calling_ae_title: str
) -> Result:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[count]}"),
    )
    with Progress(*columns, console=console) as progress:
        total = sum(meta.size for _, meta in files)
        task = progress.add_task("sending", total=total, count=f"0/{len(files)}")
        count = 0

        def sent(meta: FileMeta) -> None:
            nonlocal count
            count += 1
            progress.update(task, advance=meta.size, count=f"{count}/{len(files)}")

        return send_files(files, to, calling_ae_title, sent)


def _report(console: Console, result: Result, to: str) -> None:
    noun = "instance" if result.stored == 1 else "instances"
    console.print(f"{result.stored} {noun} stored at {to}.", markup=False)
    for warning, count in sorted(result.warnings.items()):
        console.print(f"{count} of them with warning {warning}", style="yellow", markup=False)
    for path, reason in result.failures:
        console.print(f"not stored: {path}: {reason}", style="red", markup=False)
