"""Crossdock's dispatcher service."""
