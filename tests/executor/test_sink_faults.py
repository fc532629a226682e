"""A sink that breaks at something nobody thought of goes on with what comes after it."""

from __future__ import annotations

from pathlib import Path

from executor.journal import Journal
from executor.log import Log
from executor.loop import Loop
from executor.sink import Sink


class Silent(Log):
    def _write(self, level: str, text: str) -> None:
        pass


class Fragile(Sink):
    """Cannot encode the line "bad", and has no thread for its first name look-up."""

    name = "fragile"
    sent: list[bytes]

    def _send(self, lines: list[bytes]) -> None:
        if not hasattr(self, "sent"):
            self.sent = []
            raise RuntimeError("can't start new thread")
        if b"bad" in lines:
            raise ValueError("Out of range float values are not JSON compliant")
        self.sent += lines
        self._taken()


def test_a_sink_survives_what_it_cannot_send(tmp_path: Path) -> None:
    log = Silent("")
    loop = Loop(log)
    journal = Journal(str(tmp_path / "spool"), 1 << 20, log)
    sink = Fragile(loop, log, journal, str(tmp_path / "spool"))
    journal.append(b"a\nbad\nb\n", 3)
    sink.flush_now()
    assert "can't start new thread" in sink.last_error and not sink.busy
    sink.flush_now()
    loop.call_later(0.2, loop.stop)
    loop.run()
    assert sink.sent == [b"a", b"b"] and sink.refused == 1 and not sink.busy
    sink.stop()
