"""rsync targets: instances become files on a host that has rsync, over SSH."""

from crossdock.protocols.rsync.adapter import RsyncAdapter


__all__ = ["RsyncAdapter"]
