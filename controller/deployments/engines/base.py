"""What an engine is to the process of a wave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from controller.deployments.tracking import Stopped
from controller.settings import Settings

ENDS_WITHIN = 20.0
"""Seconds that a run may take to end when it was told to."""

Put = Callable[[Any], None]
"""Takes what a tracker reads; never raises, never waits."""


class Engine(Protocol):
    """Plays a wave's playbook.

    Attributes:
        left: something of it may go on, and is for whoever comes next to settle.
    """

    left: bool

    def prepare(self) -> None:
        """Make on this machine what it needs there, before anybody looks for it."""

    def play(self) -> int | None:
        """Play it to its end; returns the exit status, or None where it was killed."""

    def stop(self, stopped: Stopped, *, hurry: bool) -> None:
        """End what plays. Called again and again, by another thread, until `play` returns.

        Args:
            hurry: nobody can wait for long: the controller ends, or is gone.
        """


def canceled_within(settings: Settings) -> float:
    """Seconds that a run may take to end when its deployment is canceled."""
    # AWX may be away, and its jobs go on until it hears of that.
    return ENDS_WITHIN + (settings.run_timeout if settings.execution == "awx" else 0.0)
