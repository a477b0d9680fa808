"""Puts instances into a drawer: a directory without any order."""
