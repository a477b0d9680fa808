"""Crossdock's receiver service."""
