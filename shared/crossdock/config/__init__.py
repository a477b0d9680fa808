"""What an operator sets up: store nodes, targets and rules, and how services come by them."""

from crossdock.config.rules import Rule
from crossdock.config.snapshot import Gateway, parse_gateway
from crossdock.config.store_nodes import Source, StoreNode
from crossdock.config.targets import DicomTarget, FolderTarget, RsyncTarget, SftpTarget, Target


__all__ = [
    "DicomTarget",
    "FolderTarget",
    "Gateway",
    "RsyncTarget",
    "Rule",
    "SftpTarget",
    "Source",
    "StoreNode",
    "Target",
    "parse_gateway",
]
