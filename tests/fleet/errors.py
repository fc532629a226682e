"""The one error of the test fleet: its text is what the person who started it reads."""

from __future__ import annotations


class FleetError(Exception):
    """A fleet, a host or a git server could not do what was asked; the text says what to do."""
