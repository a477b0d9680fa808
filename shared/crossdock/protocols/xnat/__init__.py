"""XNAT targets: instances go into sessions of a project, through XNAT's import service."""

from crossdock.protocols.xnat.adapter import XnatAdapter


__all__ = ["XnatAdapter"]
