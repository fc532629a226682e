"""What processes took, those that have ended and those that live on included."""

from __future__ import annotations

import psutil


def of_all(process: psutil.Process) -> float:
    """Seconds of CPU of a process and of everything that it started."""
    times = process.cpu_times()
    return float(times.user + times.system) + of_children(process)


def of_children(process: psutil.Process) -> float:
    """Seconds of CPU of everything that a process started.

    A run of a wave is a copy of a process that lives on: that one is told what it took, not the
    controller.
    """
    ended = process.cpu_times()
    alive = (sum(child.cpu_times()[:4]) for child in process.children(recursive=True))
    return float(ended.children_user + ended.children_system + sum(alive))
