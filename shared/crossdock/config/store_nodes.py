"""Store nodes: the AEs that listen, and who may send to them."""

import ipaddress
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from crossdock.config.fields import AETitle, Configured, Host, Name, Network, Port, Text
from crossdock.config.tls import NodeTls, TargetTls


Associations = Annotated[int, Field(ge=1, le=1000)]


class Source(Configured):
    """Somebody who may send: a calling AE title, an address or network, a certificate, or several."""

    ae_title: AETitle | None = Field(None, description="Calling AE title; any if left out.")
    address: Network | None = Field(None, description="Address or CIDR network; any if left out.")
    certificate: Annotated[str, Field(min_length=1, max_length=255)] | None = Field(
        None, description="Common name or alternative name in its TLS certificate; any if left out."
    )
    max_associations: Associations | None = Field(
        None, description="Associations at once from this source; more are refused for now."
    )

    commitment_port: Port | None = Field(
        None,
        description="Its port for results of storage commitment; that of the node's commitment if "
        "left out.",
    )

    commitment_host: Host | None = Field(
        None, description="Its host for the same; the address that it asks from if left out."
    )

    @model_validator(mode="after")
    def _names_somebody(self) -> "Source":
        if self.ae_title is None and self.address is None and self.certificate is None:
            raise ValueError(
                "a source needs ae_title, address or certificate; for all use accept: any"
            )
        return self

    def matches(self, calling_ae_title: str, address: str, certificate: Sequence[str]) -> bool:
        """Whether a caller is this source; ``certificate`` are the names that it proved."""
        return (
            self.matches_title(calling_ae_title)
            and self.matches_address(address)
            and self.matches_certificate(certificate)
        )

    def matches_title(self, calling_ae_title: str) -> bool:
        """Whether the calling AE title is this source's."""
        return self.ae_title is None or self.ae_title == calling_ae_title

    def matches_address(self, address: str) -> bool:
        """Whether an IP address lies in this source's network."""
        if self.address is None:
            return True
        ip = ipaddress.ip_address(address)
        mapped = getattr(ip, "ipv4_mapped", None)
        return (mapped or ip) in ipaddress.ip_network(self.address)

    def matches_certificate(self, names: Sequence[str]) -> bool:
        """Whether one of the names in a certificate is this source's; case does not matter."""
        wanted = self.certificate
        return wanted is None or wanted.casefold() in (name.casefold() for name in names)


class NodeCommitment(Configured):
    """What a store node commits itself to when it is asked to (PS3.4 J)."""

    targets: Annotated[int, Field(ge=0, le=64)] = Field(
        0,
        description="Targets that must have confirmed an instance; with 0 it is enough that it is "
        "on disk here.",
    )
    wait_seconds: Annotated[float, Field(gt=0, le=604_800)] = Field(
        3600.0, description="Seconds to wait for the targets before the result says failed."
    )
    port: Port = Field(
        104, description="Where requesters listen for results, at the address that they ask from."
    )
    tls: TargetTls | None = Field(
        None, description="TLS to requesters that results are told to; plain TCP if left out."
    )


class StoreNode(Configured):
    """A local listening AE. Who may send is ``accept: any`` or a list of ``sources``."""

    name: Name
    ae_title: AETitle = Field(description="Called AE title that senders must use.")
    port: Port = Field(description="TCP port to listen on.")
    host: Host = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104 — modalities are on the network
    enabled: bool = True
    accept: Literal["any"] | None = Field(None, description="`any`: take from every sender.")
    sources: tuple[Source, ...] = Field((), description="Who may send, if not any.")
    check_called_ae_title: bool = Field(
        True, description="Refuse associations that call another AE title."
    )
    max_associations: Associations = Field(
        100, description="Associations at once; more are refused for now."
    )
    tls: NodeTls | None = Field(None, description="TLS; plain TCP if left out.")
    quiet_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        10.0, description="A parcel is closed when nothing arrived for it this long."
    )
    parcel_instances: Annotated[int, Field(ge=1, le=10_000)] = Field(
        500, description="A parcel is closed at this many instances, while the series goes on."
    )
    parcel_bytes: Annotated[int, Field(ge=1_000_000)] = Field(
        256_000_000, description="A parcel is closed at this many bytes."
    )
    sync: Literal["instance", "association", "none"] = Field(
        "instance",
        description="When bytes are forced to disk: before each success, or less safely later.",
    )
    commitment: NodeCommitment | None = Field(
        None, description="Answer requests for storage commitment; refused if left out."
    )
    description: Text = ""

    @property
    def listening(self) -> tuple[object, ...]:
        """What cannot be changed while the node listens."""
        return self.host, self.port, self.tls

    @model_validator(mode="after")
    def _says_who_may_send(self) -> "StoreNode":
        if self.accept is None and not self.sources:
            raise ValueError("say who may send: `accept: any`, or a list of sources")
        if self.accept == "any" and self.sources:
            raise ValueError("`accept: any` and sources exclude each other; drop one")
        return self

    @model_validator(mode="after")
    def _asks_for_certificates(self) -> "StoreNode":
        asked = self.tls is not None and self.tls.client_certificate != "none"
        if not asked and any(source.certificate for source in self.sources):
            raise ValueError("a source with a certificate needs tls with a client_certificate")
        return self
