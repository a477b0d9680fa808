"""Network interfaces, media, configuration, character sets and security (PS3.2)."""

from crossdock.cli.conformance.text import joined, setting, table
from crossdock.config.store_nodes import Source
from crossdock.config.tls import NodeTls, TargetTls
from crossdock.dicom.charsets import understood
from crossdock.dicom.tls import CIPHERS, VERSIONS


def section() -> str:
    """Return the sections on what surrounds the AEs."""
    return joined(_NETWORK, _CONFIGURATION, _character_sets(), _security())


_NETWORK = """
## 8 Network and media

**Network.** TCP/IP over any interface of the operating system, IPv4 and IPv6; host names by its resolver. TCP_NODELAY is set. DICOM upper layer protocol as in PS3.8,
HTTP as in [7](#7-ae-dicomweb-target). A connection without an association is closed after the time for a request.

**Media.** None: no media storage application profile of PS3.11 is supported. In its spool, and at targets that are folders, SFTP, rsync or S3, Crossdock writes files of the DICOM file format
(PS3.10 7) with file meta information of its own, followed by the dataset as it was received. There is no DICOMDIR.
"""

_CONFIGURATION = """
## 9 Configuration

Store nodes, targets and rules are configured over web pages, REST or a file; a change is in force within two seconds. AE titles have 1 to 16 printable ASCII characters
without backslash; case matters. A target's AE title, host and port are its own settings: there is no other mapping of AE titles to addresses, but
`host: sender` and `pass_called_ae_title`, `pass_calling_ae_title`, which take them from the association that an instance came with. All parameters, with their defaults: [C](#c-parameters).
"""


def _character_sets() -> str:
    return f"""
## 10 Character sets

Datasets are not decoded on their way, so instances of every character set pass. Where rules and file names ask for values, these Specific Character Sets are understood, with
code extensions (ISO 2022) as well: {", ".join(understood())}. What is not declared is read as UTF-8 if it is that, and as ISO_IR 100 otherwise; what cannot be decoded
becomes replacement characters, and is never a reason to refuse an instance.
"""


def _security() -> str:
    versions = ", ".join(VERSIONS)
    return f"""
## 11 Security

**Secure transport.** Store nodes, DICOM targets (`dicom+tls`), reports of storage commitment and DICOMweb can use TLS, by the BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12) and the Modified BCP 195 RFC 8996, 9325 TLS
Secure Transport Connection Profile (PS3.15 B.13); plain and secure ports are different store nodes.

{table(("item", "value"), _tls(versions))}

**Access.** A store node accepts all senders (`accept: any`) or sources: {", ".join(f"`{name}`" for name in ("ae_title", "address", "certificate"))}, in any combination; all that are given must fit. With
`certificate`, an AE title is bound to the name in the sender's certificate: {_lower_first(str(Source.model_fields["certificate"].description))} User identity negotiation is not used to decide.

**Audit.** Each association, its end and each refusal is a line of the log, and each change of the configuration, and each decision of a person about a delivery, a record with its time and author. Audit messages of PS3.15 A.5 are not sent. De-identification
(PS3.15 E) is not done. Nothing is digitally signed, and signatures in instances pass unchanged.
"""


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _tls(versions: str) -> list[tuple[str, object]]:
    return [
        ("versions", f"{versions}; `minimum_version` {setting(NodeTls, 'minimum_version')}, or 1.3 to leave out 1.2"),
        ("cipher suites of TLS 1.2, in OpenSSL's words", f"`{CIPHERS}`"),
        ("cipher suites of TLS 1.3", "those of the OpenSSL in use"),
        ("renegotiation, compression", "no"),
        ("certificate of a sender, at a store node", f"{setting(NodeTls, 'client_certificate')} (`client_certificate`: required, optional or none)"),
        ("certificate of ours, at a target", "shown if it is configured and the peer asks"),
        ("name in a target's certificate", f"checked unless `check_hostname` is false; by default it is {str(setting(TargetTls, 'check_hostname')).lower()}"),
        ("trusted", "the CAs of `ca`; at targets without it, the system's"),
        ("port", "as configured; 2762 is usual"),
        ("changed files", "are used for new connections, without a restart"),
    ]  # fmt: skip
