"""Crossdock's tester: says whether a target can be reached before anyone relies on it."""
