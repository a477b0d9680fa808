"""What is fed: each subject has valid inputs to damage, and a way to read any input."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from crossdock.dicom import associate, commitment, dimse, negotiation, pdu
from crossdock.dicom.associate import Associate, Context, Role, UserInformation
from crossdock.dicom.commitment import Reference, Report
from crossdock.dicom.header import read_keywords, scan
from crossdock.dicom.part10 import parse_file_meta
from crossdock.dicom.pdu import COMMAND, LAST, Fragment, PduStream
from crossdock.dicom.reception import CommandBuffer, Reception
from crossdock.errors import DicomError
from servers.samples import NAMES, dataset_of, sample


CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
_SYNTAXES = (
    "1.2.840.10008.1.2",
    EXPLICIT,
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.50",
    "1.2.3",
)
_KEYWORDS = ("StudyInstanceUID", "PatientName", "Rows", "PixelSpacing", "FrameIncrementPointer")
_TAGS = (0x0020000D, 0x0020000E, 0x00100010)
_SEED_BYTES = 3000


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that reads bytes. ``feed`` may not raise, whatever they are."""

    name: str
    seeds: Sequence[bytes]
    feed: Callable[[bytes], None]


class _Nowhere:
    """A writer that keeps nothing."""

    def write(self, chunks: Sequence[memoryview]) -> None:
        assert all(len(chunk) for chunk in chunks)

    def commit(self) -> int:
        return 0

    def discard(self) -> None:
        pass


def requests() -> list[bytes]:
    """Return association requests, from the smallest to one with everything in it."""
    rich = UserInformation(
        max_length=16384,
        window=(8, 1),
        roles=(Role(CT, scu=True, scp=False),),
        extended=((CT, bytes((2, 0, 0, 0, 0, 0))),),
    )
    return [
        pdu.encode(pdu.ASSOCIATE_RQ, associate.encode_request(_request(count, user)))
        for count, user in ((1, UserInformation()), (3, rich), (128, rich))
    ]


def _request(count: int, user: UserInformation) -> Associate:
    contexts = tuple(Context(2 * n + 1, CT, (EXPLICIT, _SYNTAXES[0])) for n in range(count))
    called, calling = associate.write_ae_title("GATE"), associate.write_ae_title("FUZZ")
    return Associate(called, calling, contexts, user)


def messages() -> list[bytes]:
    """Return what may follow an association request, up to its end."""
    command = pdu.encode_command(1, dimse.store_request(1, CT, "1.2.3"), 16384)
    data = b"".join(pdu.frame(1, control, 300) + bytes(300) for control in (0, 0, LAST))
    echo = pdu.encode_command(1, dimse.echo_request(2, "1.2.840.10008.1.1"), 16384)
    end = pdu.encode_short(pdu.RELEASE_RQ)
    return [command + data + end, echo + end, command + data + command + data + echo]


def statements() -> list[bytes]:
    """Return reports on storage commitment."""
    references = [Reference(CT, f"1.2.{number}") for number in range(20)]
    failed = tuple((reference, 0x0112) for reference in references[:3])
    report = Report("2.25.17", tuple(references[3:]), failed)
    return [commitment.encode_report(report, syntax) for syntax in commitment.SYNTAXES]


def subjects(directory: Path) -> list[Subject]:
    """Return all subjects; files are written to ``directory``."""
    heads = [dataset_of(sample(name))[:_SEED_BYTES] for name in NAMES]
    files = [sample(name).read_bytes()[:_SEED_BYTES] for name in NAMES]
    answers = [associate.encode_answer(negotiation.answer(_request(3, UserInformation()), 16384))]
    streams = [request + rest for request in requests() for rest in messages()]
    commands = [dimse.store_request(1, CT, "1.2.3", ("MOVER", 7)), dimse.echo_request(1, CT)]
    path = directory / "instance.dcm"
    return [
        Subject("association", streams, _read_stream),
        Subject("associate", [request[6:] for request in requests()] + answers, _read_associate),
        Subject("command", commands, _read_command),
        Subject("commitment", statements(), _read_commitment),
        Subject("header", heads, _read_header),
        Subject("file", files, lambda data: _read_file(path, data)),
    ]


def _read_stream(data: bytes) -> None:
    """Read as an association does: PDUs, commands, datasets; in pieces of odd sizes."""
    stream, command, reception = PduStream(16384), CommandBuffer(), None
    tail = b""
    with suppress(DicomError):
        for start in range(0, len(data), 611):
            piece = tail + data[start : start + 611]
            items, used = stream.feed(memoryview(piece))
            tail = piece[used:]
            for item in items:
                if isinstance(item, Fragment):
                    reception = _take(item, command, reception)
                elif item.type == pdu.ASSOCIATE_RQ:
                    negotiation.answer(associate.decode(item.body), 16384)
            if reception is not None:
                reception.flush()


def _take(
    fragment: Fragment, command: CommandBuffer, reception: Reception | None
) -> Reception | None:
    if reception is not None:
        if not reception.add(fragment):
            return reception
        assert reception.finish() == 0
        return None
    found = command.add(fragment)
    if found is None or not found.has_dataset:
        return None
    return Reception(found, fragment.context_id, _Nowhere(), 0)


def _read_associate(data: bytes) -> None:
    with suppress(DicomError):
        asked = associate.decode(data.ljust(68, b"\0"))
        negotiation.objection(asked)
        associate.encode_answer(negotiation.answer(asked, 16384))


def _read_command(data: bytes) -> None:
    with suppress(DicomError):
        found = dimse.decode(data)
        dimse.response(found, 0)
        pdu.encode_command(1, data, 16)
    for control in (COMMAND, COMMAND | LAST):
        with suppress(DicomError):
            CommandBuffer().add(Fragment(1, control, memoryview(data)))


def _read_commitment(data: bytes) -> None:
    for syntax in commitment.SYNTAXES:
        with suppress(DicomError):
            report = commitment.decode_report(data, syntax)
            assert len(report.transaction_uid) <= 64


def _read_header(data: bytes) -> None:
    for uid in _SYNTAXES:
        found = scan(data, uid, _TAGS)
        assert found.keys() <= set(_TAGS)


def _read_file(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with suppress(DicomError):
        parse_file_meta(data, len(data), path.name)
    with suppress(DicomError):
        texts = read_keywords(path, _KEYWORDS)
        assert texts.keys() <= set(_KEYWORDS)
