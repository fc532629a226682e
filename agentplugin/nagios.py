"""The output of a Nagios / Monitoring Plugins check: an exit code, a line for people, performance
data (rules: the Monitoring Plugins guidelines and Nagios' plugin API)."""

from __future__ import annotations

import math
import re

from agentplugin.problems import shown
from agentplugin.values import Value

STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
"""By exit code."""

_PERFDATA = re.compile(
    r"""\s*(?:'((?:[^']|'')*)'|([^\s'=][^=\s]*))=([-+]?[0-9.,eE+-]*[0-9.]|U)([^\s;0-9]*)"""
    r"""((?:;[^\s;]*)*)(?=\s|$)"""
)


_WORD = re.compile(r"\s*(\S+)")
_MOST_TROUBLES = 100
"""A table with bars between its columns is not one fault for each of its words."""


class Check:
    """One run: `text` for people, `values` of the performance data, `troubles` with it."""

    __slots__ = ("text", "troubles", "values")

    def __init__(self) -> None:
        self.text = ""
        self.values: list[Value] = []
        self.troubles: list[str] = []


def read(name: str, stdout: str, code: int, timestamp: int) -> Check:
    """A check's stdout and exit code (0 to 3). `name` begins the metrics' names.

    The state is `name.status`; a label of the performance data is `name.value` with the tags
    perfdata (the label) and unit, because labels are paths and interfaces as often as words.
    """
    check = Check()
    check.values.append(Value(f"{name}.status", float(code), {}, timestamp))
    first, _, rest = stdout.partition("\n")
    check.text, _, perfdata = first.partition("|")
    check.text = check.text.strip()
    # After the first line comes text, and after the next bar nothing but performance data.
    perfdata += " " + rest.partition("|")[2]
    _read_perfdata(check, name, perfdata, timestamp)
    return check


def _read_perfdata(check: Check, name: str, perfdata: str, timestamp: int) -> None:
    place = 0
    while True:
        match = _PERFDATA.match(perfdata, place)
        if match is None:
            word = _WORD.match(perfdata, place)
            if word is None:
                return
            _trouble(check, f"the performance data {shown(word.group(1))} is not label=value")
            place = word.end()
            continue
        place = match.end()
        quoted, plain, number, unit, _limits = match.groups()
        label = plain if quoted is None else quoted.replace("''", "'")
        if number == "U":
            continue
        try:
            value = float(number.replace(",", "."))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            _trouble(check, f"the performance data of {shown(label)} is no number")
            continue
        tags = {"perfdata": label}
        if unit and unit != "c":
            tags["unit"] = unit
        kind = "COUNTER" if unit == "c" else "GAUGE"
        check.values.append(Value(f"{name}.value", value, tags, timestamp, kind))


def _trouble(check: Check, text: str) -> None:
    if len(check.troubles) < _MOST_TROUBLES:
        check.troubles.append(text)
