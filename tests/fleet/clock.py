"""Builds the library that gives the programs of one host a wrong wall clock (wrong_clock.c)."""

from __future__ import annotations

import subprocess
from pathlib import Path

from . import debian
from .errors import FleetError

VARIABLE = "PLUGFLEET_CLOCK"
OFFSET_FILE = "/etc/plugfleet-clock"


def library(folder: Path) -> Path:
    """The library, built in `folder` when it is not there yet. Raises FleetError."""
    target = folder / "wrong_clock.so"
    if not target.exists():
        debian.require("clock")
        source = Path(__file__).with_name("wrong_clock.c")
        define = f'-DOFFSET_FILE="{OFFSET_FILE}"'
        draft = target.with_suffix(".draft")
        argv = ["gcc", "-O2", "-Wall", "-shared", "-fPIC", define]
        done = subprocess.run(
            [*argv, "-o", str(draft), str(source)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise FleetError(f"{source.name}: {done.stderr.strip()}")
        draft.rename(target)
    return target


def offset(seconds: float) -> str:
    """What the library reads: nanoseconds."""
    return str(round(seconds * 1_000_000_000))
