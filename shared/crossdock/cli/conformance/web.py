"""The STOW-RS user agent (PS3.18 10.5)."""

from crossdock import __version__
from crossdock.cli.conformance.sample import UID, outgoing
from crossdock.cli.conformance.text import joined, limits, seconds, setting, table
from crossdock.config.targets import DicomwebTarget
from crossdock.dicom.status import describe
from crossdock.errors import DeliveryError
from crossdock.protocols.dicomweb.client import JSON, REPORT
from crossdock.protocols.dicomweb.failures import Answer, of_answer
from crossdock.protocols.dicomweb.multipart import Multipart
from crossdock.protocols.dicomweb.report import Report
from crossdock.protocols.dicomweb.store import SERVICE, named
from crossdock.protocols.web.answers import status_words


_REASONS = (0x0110, 0x0111, 0x0117, 0x0122, 0x0124, 0xA700, 0xA900, 0xC000, 0xC122)
_WARNINGS = (0xB000, 0xB006, 0xB007)


def section() -> str:
    """Return the section on DICOMweb."""
    return joined(
        "## 7 AE: DICOMweb target",
        _words(),
        table(("item", "value"), _items()),
        "### 7.1 What an HTTP status means for the target",
        table(("status", "kind", "passes by itself"), _statuses()),
        "All other statuses are about the instances of the request: see below.",
        "### 7.2 What becomes of an instance",
        table(
            ("the server's answer (Store Instances Response, PS3.18 10.5.3)", "the instance is"),
            _outcomes(),
        ),
        _REST,
    )


def _words() -> str:
    target = DicomwebTarget
    return f"""
A target with an http or https URL is a user agent of the Store transaction (STOW-RS): `POST URL/studies` with instances in `application/dicom` as they were received, in any transfer syntax; the study is not named in the URL. A request has
up to {setting(target, "batch_instances")} instances (`batch_instances`, {limits(target, "batch_instances")}) and {setting(target, "batch_bytes")} bytes
(`batch_bytes`); {setting(target, "connections")} requests run side by side per delivery (`connections`, {limits(target, "connections")}). Times: {seconds(setting(target, "connect_timeout"))} for the connection,
{seconds(setting(target, "timeout"))} for each answer and without progress. Search (QIDO-RS) is used to ask for an instance that an answer does not name, and in checks. Retrieve (WADO-RS) is not used, and no DICOMweb
service is provided.
"""


def _items() -> list[tuple[str, str]]:
    boundary = Multipart(()).content_type.partition(" boundary=")[0]
    return [
        ("User-Agent", f"`Crossdock/{__version__}`"),
        ("Content-Type of a request", f"`{boundary} boundary=…`; each part `application/dicom`"),
        ("Content-Length", "always; no chunked transfer coding"),
        ("Accept, storing", f"`{REPORT}`"),
        ("Accept, searching", f"`{JSON}`"),
        ("HTTP", "1.1; 2 over TLS where the server offers it and `http2` is true"),
        ("authentication", "Basic (RFC 7617), bearer tokens (RFC 6750), OAuth 2 client credentials (RFC 6749 4.4), own headers, TLS client certificates"),
        ("redirects, cookies", "not followed, not kept"),
        ("proxy", "as configured at the target; those of the environment are not used"),
        ("character set of metadata", "UTF-8"),
    ]  # fmt: skip


def _statuses() -> list[tuple[str, str, str]]:
    rows = []
    for status in range(300, 600):
        found = of_answer(Answer(status, "", "", "", b""), SERVICE)
        if found is not None and status_words(status) != f"HTTP {status}":
            rows.append(
                (status_words(status), found.kind.value, "yes" if found.temporary else "no")
            )
    return rows


def _outcomes() -> list[tuple[str, str]]:
    rows = [("in ReferencedSOPSequence", _of(Report(stored={UID: 0})))]
    rows += [
        (f"in ReferencedSOPSequence, WarningReason {describe(reason)}", _of(Report({UID: reason})))
        for reason in _WARNINGS
    ]
    rows += [
        (f"in FailedSOPSequence, FailureReason {reason:04X}", _of(Report({}, {UID: reason})))
        for reason in _REASONS
    ]
    return [*rows, ("in FailedSOPSequence, no reason", _of(Report({}, {UID: None})))]


def _of(report: Report) -> str:
    try:
        found = named(outgoing(), report, alone=True)
    except DeliveryError as error:
        return f"not sent: the target is {error.kind.value}, and the delivery waits"
    if found is None:
        return "not decided"
    words = {"warning": "delivered, with a warning"}.get(found.outcome.value, found.outcome.value)
    return f"{words}: {found.detail}" if found.detail else words


_REST = """
An answer is read in DICOM JSON or in the Native DICOM Model, whatever its status. An instance that a successful answer does not name is searched for; if it is not there, and
otherwise, the request is repeated in halves until each instance has an answer of its own, and one that is not named then is refused with the HTTP status. 413 makes
later requests of the delivery smaller.
"""
