"""What a bound program prints, where a binding says so: `{"plugin": ..., "format": "nagios"}` (rules:
each format's own documentation, named in the module that reads it)."""

from __future__ import annotations

from agentplugin.bindings import BindingError
from agentplugin.problems import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BOUNDARY = "boundary"
NAGIOS = "nagios"
TELEGRAF_EXEC = "telegraf-exec"
TELEGRAF_EXECD = "telegraf-execd"
PROMETHEUS = "prometheus"
FORMATS = (BOUNDARY, NAGIOS, TELEGRAF_EXEC, TELEGRAF_EXECD, PROMETHEUS)

DEFAULT_STEP = 60
MAX_STEP = 31 * 86400


class Format:
    """How a program is run and read.

    name  one of FORMATS
    step  seconds between two starts (boundary: 0, its pollInterval counts), and the step of its values
    args  arguments of a program that is bound by itself, without a manifest
    """

    __slots__ = ("args", "name", "step")

    def __init__(self, name: str = BOUNDARY, step: int = 0, args: list[str] | None = None) -> None:
        self.name = name
        self.step = step
        self.args = args or []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Format) and (self.name, self.step, self.args) == (
            other.name,
            other.step,
            other.args,
        )

    __hash__ = None  # type: ignore[assignment]  # holds a list

    @property
    def runs_for_ever(self) -> bool:
        """Whether the program is expected to stay: then its values come line by line."""
        return self.name in (BOUNDARY, TELEGRAF_EXECD)


def read(entry: dict[str, Any], config: dict[str, Any], number: int) -> Format:
    """The format that a binding's object asks for. Raises BindingError."""
    name = entry.get("format", BOUNDARY)
    if name not in FORMATS:
        raise BindingError(
            "binding-format",
            f"binding {number}: the format {shown(str(name))} is not known",
            f"use one of {', '.join(FORMATS)}",
        )
    if name == BOUNDARY:
        return Format()
    step = entry.get("step", DEFAULT_STEP)
    if isinstance(step, bool) or not isinstance(step, int) or not 0 < step <= MAX_STEP:
        raise BindingError(
            "binding-format",
            f'binding {number}: "step" must be whole seconds from 1 to {MAX_STEP}, is '
            f"{shown(str(step))}",
            'write {"step": 60}',
        )
    return Format(name, step, _args(config.get("args", []), number))


def _args(args: Any, number: int) -> list[str]:
    if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
        raise BindingError(
            "binding-format",
            f'binding {number}: "args" must be a list of texts',
            'write {"config": {"args": ["-w", "10%"]}}',
        )
    return list(args)
