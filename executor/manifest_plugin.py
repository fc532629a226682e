"""One manifest plugin as `Plugins` knows it: what was planned, what is shown of it, and what comes of
a look at its files. Its course of runs is manifest_course.py's.
"""

from __future__ import annotations

import os
import time

from agentplugin import formats
from executor import diagnosis, manifest_view
from executor.manifest_course import Course
from executor.manifest_jobs import CopyJob
from executor.manifest_phase import COPYING, END, RESTING, RUNNING, SCHEDULED
from executor.schedule import spread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentplugin.planned import PlannedManifest
    from executor.manifest_output import Output
    from executor.runtime import Runtime
    from executor.workcopy import WorkCopy


class ManifestPlugin:
    """Runs a planned manifest plugin until `stop()`."""

    __slots__ = ("_course", "_mending", "_planned", "_runtime", "drift", "drifts", "missed")

    kind = "manifest"

    def __init__(self, planned: PlannedManifest, runtime: Runtime) -> None:
        self._planned = planned
        self._runtime = runtime
        delay = spread(runtime.intake.endpoint, planned.key, runtime.first_run_within)
        self._course = Course(planned, runtime, delay)
        self._mending: CopyJob | None = None
        self.missed = self.drifts = 0
        self.drift: list[str] = []
        self._describe()

    @property
    def key(self) -> str:
        return self._planned.key

    @property
    def path(self) -> str:
        return self._planned.path

    @property
    def args(self) -> list[str]:
        return self._planned.format.args

    @property
    def format(self) -> str:
        return self._planned.format.name

    @property
    def running(self) -> bool:
        return self._course.phase.name == RUNNING

    @property
    def state(self) -> str:
        return self._course.shown()[0]

    @property
    def reason(self) -> str:
        return self._course.shown()[1]

    @property
    def runs(self) -> int:
        return self._course.runs

    @property
    def last_run(self) -> int:
        """Epoch s of its last start, 0 for none."""
        return self._course.last_run

    @property
    def output(self) -> Output:
        return self._course.output

    @property
    def code_time(self) -> int:
        """Newest mtime of its code, epoch s; 0 before its first start."""
        return self._course.code[0] if self._course.code is not None else 0

    @property
    def cycle(self) -> int:
        """Seconds between two starts of one that ends."""
        return max(1, int(self._course.poll_seconds))

    @property
    def source(self) -> str:
        """Its folder in the release, or the program that is bound by itself."""
        return os.path.join(self._runtime.plugin_dir, self._planned.path)

    @property
    def copy(self) -> WorkCopy | None:
        """Its working copy, once its manifest was read; None for a program."""
        return self._course.launch.copy if self._course.launch is not None else None

    def update(self, planned: PlannedManifest) -> None:
        """New configuration: begin anew, also out of the parking lot."""
        before, self._planned = self._planned, planned
        if (planned.config, planned.format) != (before.config, before.format):
            self._course.change(planned)
            self._describe()

    def looked(self, code: tuple[int, int, int], touched: bool, began: float) -> None:
        """What a look at its files found, which began then (monotonic s): new code means to begin
        anew, too; a copy that may have drifted is mended.
        """
        course = self._course
        # Before its first start, and while its copy is made, the start itself looks.
        known = course.code is not None or course.phase.name == RESTING
        if not known or course.phase.name == COPYING or self._is_stopped or began < course.code_at:
            return
        copy = self.copy
        if code != course.code:
            course.note_code(code)
            course.begin_anew()
            self._describe()
        elif touched and copy is not None and self._may_mend:
            self._mending = CopyJob(self._runtime, self.key, copy.mend, self._mended)

    def stop(self) -> None:
        if self._mending is not None:
            self._mending.stop()
        self._course.stop()

    def view(self) -> dict[str, Any]:
        """The entry of `/plugins`."""
        return manifest_view.entry(self)

    def next_run(self) -> int:
        """Epoch s of the next start that is planned, 0 for none."""
        planned = self._course.phase.next_start
        return 0 if planned is None else int(time.time() + planned - time.monotonic())

    @property
    def _may_mend(self) -> bool:
        # What a failed postExtract, or one that runs, has made of the copy is no drift.
        return self._mending is None and self._course.phase.name in (SCHEDULED, RUNNING)

    @property
    def _is_stopped(self) -> bool:
        return self._course.phase.told == END

    def _mended(self, code: int, drifted: Any, said: str) -> None:
        self._mending = None
        if self._is_stopped:
            return
        log = self._runtime.log
        if code:
            log.warning(f"plugin {self.key}: its copy cannot be mended: {said}")
        elif drifted:
            self.drifts += 1
            self.drift = drifted
            log.warning(
                f"plugin {self.key}: its copy had drifted, "
                f"{diagnosis.one_line(', '.join(drifted))}: kept aside and installed anew"
            )
            # Its failures count on: a plugin may spoil its own files at each start.
            self._course.restart_process()

    def _describe(self) -> None:
        known = manifest_view.described(self.source)
        for definition in known.values():
            self._runtime.intake.describe(definition.name, manifest_view.help_text(definition))
        if self._runtime.config["executor.aggregate"] and self.format == formats.BOUNDARY:
            self.output.gather({name: known[name].aggregate for name in known})
