"""What goes wrong between AWX and who calls it: for tests, and by `/stand-in/faults`."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any

_MOST = 60.0  # seconds that a request is held, should nobody let it go


@dataclass
class Faults:
    """Faults that requests meet, where `where` fits `METHOD /path`.

    Attributes:
        where: regular expression of the requests that are met by a fault.
        slow: seconds that an answer takes.
        held: what the next request waits for, and no other.
        statuses: answers that the next requests get in place of theirs, e.g. `[502, 429]`; a proxy's, with a
            page instead of JSON.
        always: status that every request gets so in place of its answer, or 0.
        lose_answers: how many requests are carried out and then get no answer.
        gone: ids of jobs that AWX knows nothing of any more.
    """

    where: str = ""
    slow: float = 0.0
    held: threading.Event | None = None
    statuses: list[int] = field(default_factory=list)
    always: int = 0
    lose_answers: int = 0
    gone: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def set(self, **values: Any) -> None:
        """Change some of them; the others stay as they are."""
        for name, value in values.items():
            setattr(self, name, type(getattr(self, name))(value))

    def clear(self) -> None:
        """Everything goes well again."""
        with self._lock:
            self.where, self.slow, self.always, self.lose_answers = "", 0.0, 0, 0
            self.statuses, self.gone, self.held = [], set(), None

    def before(self, method: str, path: str) -> int:
        """Status to answer with instead of carrying a request out, or 0."""
        if not self._meets(method, path):
            return 0
        if self.slow:
            time.sleep(self.slow)
        held, self.held = self.held, None
        if held:
            held.wait(_MOST)
        with self._lock:
            return self.statuses.pop(0) if self.statuses else self.always

    def has_lost(self, path: str) -> bool:
        """Whether AWX knows nothing any more of what a request is for."""
        lost = re.match(r"/api/v2/jobs/(\d+)/", path)
        return lost is not None and int(lost[1]) in self.gone

    def loses_answer(self, method: str, path: str) -> bool:
        """Whether a request that was carried out gets no answer."""
        with self._lock:
            if self.lose_answers and self._meets(method, path):
                self.lose_answers -= 1
                return True
        return False

    def _meets(self, method: str, path: str) -> bool:
        return re.search(self.where, f"{method} {path}") is not None
