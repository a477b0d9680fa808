"""Crossdock's config-api: owns the configuration and the ledger, and serves people and scripts."""
