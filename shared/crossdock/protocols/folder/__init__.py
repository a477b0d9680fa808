"""Folder targets: instances become files below a local or mounted directory."""

from crossdock.protocols.folder.adapter import FolderAdapter


__all__ = ["FolderAdapter"]
