"""Settings of DICOM targets: plain, and over TLS."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from crossdock.config.fields import AETitle, Configured, Host, Name
from crossdock.config.targets.base import RemoteTarget
from crossdock.config.tls import TargetTls
from crossdock.dicom.tls import TlsFiles
from crossdock.dicom.uids import TRANSFER_SYNTAXES, is_uncompressed


_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")  # PS3.5 9.1

SENDER = "sender"
"""As the host of a target: the address that each instance came from."""

Conversion = Literal[
    "keep",
    "explicit-vr-little-endian",
    "implicit-vr-little-endian",
    "jpeg-lossless",
    "jpeg-ls-lossless",
    "jpeg-2000-lossless",
    "rle-lossless",
]


def _transfer_syntax(value: str) -> str:
    """Check a transfer syntax: a name of ours or a UID, also a private one."""
    if value in TRANSFER_SYNTAXES:
        return value
    if not _UID.fullmatch(value) or len(value) > 64:  # noqa: PLR2004 — PS3.5 9.1
        names = ", ".join(TRANSFER_SYNTAXES)
        raise ValueError(f"neither a UID nor one of {names}")
    known = {uid: name for name, uid in TRANSFER_SYNTAXES.items()}
    return known.get(value, value)


TransferSyntax = Annotated[str, AfterValidator(_transfer_syntax)]


class TargetCommitment(Configured):
    """How a target is asked to confirm that it keeps what it was sent (PS3.4 J)."""

    wait_seconds: Annotated[float, Field(gt=0, le=604_800)] = Field(
        3600.0, description="Seconds to wait for a result before it is asked again."
    )
    ask_again: Annotated[int, Field(ge=0, le=10)] = Field(
        2, description="How often it is asked again before what is not committed is sent again."
    )
    same_association_seconds: Annotated[float, Field(ge=0, le=60)] = Field(
        1.0,
        description="Seconds to keep the association open, and the delivery in work, for a result "
        "that comes over it.",
    )
    listen: Name | None = Field(
        None,
        description="Store node to which the peer opens associations for results; checked to have "
        "our calling AE title.",
    )


class StorageScpTarget(RemoteTarget):
    """What DICOM targets with and without TLS have in common."""

    can_query: ClassVar[bool] = True

    host: Host = Field(
        description="Host name, IPv4 or IPv6 address; `sender` is where each instance came from."
    )
    called_ae_title: AETitle = Field(description="AE title of the peer.")
    calling_ae_title: AETitle = Field("CROSSDOCK", description="AE title that we call with.")
    pass_called_ae_title: bool = Field(
        False,
        description="Call the AE title that the instance's sender called; `called_ae_title` in "
        "checks, and where there is none.",
    )
    pass_calling_ae_title: bool = Field(
        False,
        description="Call with the AE title of the instance's sender; `calling_ae_title` in "
        "checks, and where there is none.",
    )
    max_pdu: Annotated[int, Field(ge=4096, le=1_048_576)] = Field(
        131_072, description="Largest PDU that we offer to receive, in bytes."
    )
    associations: Annotated[int, Field(ge=1, le=16)] = Field(
        1, description="Associations side by side per delivery, no more than the peer admits."
    )
    window: Annotated[int, Field(ge=1, le=64)] = Field(
        16, description="Instances under way at once in an association, if the peer grants that."
    )
    transfer_syntaxes: Annotated[tuple[TransferSyntax, ...], Field(max_length=32)] = Field(
        (), description="Names or UIDs of what may be proposed; whatever instances are in if empty."
    )
    convert_to: Conversion = Field(
        "keep",
        description="Transfer syntax to send instances in where the peer takes it; never a lossy one.",
    )
    convert_only_uncompressed: bool = Field(
        True, description="Leave instances that are compressed already as they are."
    )
    convert_refused: bool = Field(
        True,
        description="Send an instance uncompressed where the peer refuses its transfer syntax.",
    )
    commitment: TargetCommitment | None = Field(
        None, description="Ask for storage commitment after sending; not asked for if left out."
    )
    delivered_means: Literal["stored", "committed"] = Field(
        "stored",
        description="When a delivery is final: once the peer has stored everything, or only when "
        "it has committed itself to keep it.",
    )

    @field_validator("delivered_means")
    @classmethod
    def _can_be_committed(
        cls, value: Literal["stored", "committed"], others: ValidationInfo
    ) -> Literal["stored", "committed"]:
        if value == "committed" and others.data.get("commitment") is None:
            raise ValueError("committed needs commitment at the target, such as commitment: {}")
        return value

    @field_validator("convert_to")
    @classmethod
    def _may_be_proposed(cls, value: Conversion, others: ValidationInfo) -> Conversion:
        allowed = others.data.get("transfer_syntaxes") or (value,)
        if value not in ("keep", *allowed):
            raise ValueError(f"add {value} to transfer_syntaxes, or leave one of the two out")
        return value

    @property
    def tls_files(self) -> TlsFiles | None:
        """The files of TLS; None for plain TCP."""
        return None

    @property
    def proposed(self) -> frozenset[str] | None:
        """The UIDs that ``transfer_syntaxes`` allows, None if it allows all."""
        uids = frozenset(TRANSFER_SYNTAXES.get(name, name) for name in self.transfer_syntaxes)
        return uids or None

    def preferred(self, transfer_syntax_uid: str) -> str:
        """Return the UID of the transfer syntax that an instance in another one should be sent in."""
        wanted = TRANSFER_SYNTAXES.get(self.convert_to)
        kept = self.convert_only_uncompressed and not is_uncompressed(transfer_syntax_uid)
        return transfer_syntax_uid if wanted is None or kept else wanted


class DicomTarget(StorageScpTarget):
    """A DICOM storage SCP."""

    type: Literal["dicom"]


class DicomTlsTarget(StorageScpTarget):
    """A DICOM storage SCP over TLS (PS3.15 B.12)."""

    type: Literal["dicom+tls"]
    tls: TargetTls = Field(
        TargetTls(),
        description="Certificates and versions; left out, the system's CAs are trusted and no "
        "certificate of ours is shown.",
    )

    @property
    def tls_files(self) -> TlsFiles:
        """The files of TLS."""
        return self.tls.files()
