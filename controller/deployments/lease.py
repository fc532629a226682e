"""Keeping a controller's lease in a thread of its own, and telling its runs how long it lasts.

Whatever else hangs, and be it the lease's own connection: a controller that cannot prove that it
holds its lock begins nothing, and its runs, which know until when they may go on, end themselves before
another controller may visit their hosts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from controller.deployments.presence import CHECK, SILENCE, Lost, Presence
from controller.errors import Unavailable

_PATIENCE = 2.0  # seconds that a check may take to end when this controller does

log = structlog.get_logger(__name__)


class Lease:
    """The lease of a controller that was entered.

    Args:
        seconds: how long it is.
        tell: called with the moment (`time.monotonic`) for which it was proven last.
    """

    def __init__(self, presence: Presence, seconds: float, tell: Callable[[float], None]) -> None:
        self.presence = presence
        self._seconds = seconds
        self._tell = tell
        self._lost: Lost | None = None
        self._trouble: Unavailable | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        tell(presence.sure)
        self._thread.start()

    def require(self) -> None:
        """Go on only if it is held.

        Raises:
            Lost: it may not be: this controller's runs must end before it begins anew.
            Unavailable: the database did not answer just now; it may be waited for.
        """
        if self._lost is not None:
            raise self._lost
        silent = time.monotonic() - self.presence.sure
        if silent > self._seconds * SILENCE:
            raise Lost(f"the database has been silent for {silent:.0f} s")
        if self._trouble is not None:
            raise self._trouble

    def drop(self) -> None:
        """Keep it no longer; a check that hangs is left behind."""
        self._over.set()

    def end(self) -> None:
        """Keep it no longer, and say that this controller ends.

        Raises:
            Unavailable: the database does not answer, so nobody could be told.
        """
        self._over.set()
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            raise Unavailable("the connection to the database hangs")
        self.presence.close()

    def _keep(self) -> None:
        while not self._over.wait(self._seconds * CHECK):
            try:
                self.presence.check()
                self._trouble = None
            except Unavailable as error:
                self._trouble = error
            except Lost as error:
                self._lost = error
                return
            except Exception:
                log.exception("the lease could not be checked")
            self._tell(self.presence.sure)
