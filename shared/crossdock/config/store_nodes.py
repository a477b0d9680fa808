"""Store nodes: the AEs that listen, and who may send to them."""

import ipaddress
from typing import Annotated, Literal

from pydantic import Field, model_validator

from crossdock.config.fields import AETitle, Configured, Host, Name, Network, Port, Text


class Source(Configured):
    """Somebody who may send: a calling AE title, an address or network, or both."""

    ae_title: AETitle | None = Field(None, description="Calling AE title; any if left out.")
    address: Network | None = Field(None, description="Address or CIDR network; any if left out.")

    @model_validator(mode="after")
    def _names_somebody(self) -> "Source":
        if self.ae_title is None and self.address is None:
            raise ValueError("a source needs ae_title, address or both; for all use accept: any")
        return self

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
    quiet_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        10.0, description="A parcel is closed when nothing arrived for it this long."
    )
    parcel_instances: Annotated[int, Field(ge=1, le=10_000)] = Field(
        500, description="A parcel is closed at this many instances, while the series goes on."
    )
    parcel_bytes: Annotated[int, Field(ge=1_000_000)] = Field(
        256_000_000, description="A parcel is closed at this many bytes."
    )
    description: Text = ""

    @model_validator(mode="after")
    def _says_who_may_send(self) -> "StoreNode":
        if self.accept is None and not self.sources:
            raise ValueError("say who may send: `accept: any`, or a list of sources")
        if self.accept == "any" and self.sources:
            raise ValueError("`accept: any` and sources exclude each other; drop one")
        return self
