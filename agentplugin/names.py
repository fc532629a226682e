"""Which file names are step scripts: the Open-Falcon agent's rule (source: plugins/reader.go,
cron/plugin.go), and what that agent was measured to do with unfortunate ones."""

from __future__ import annotations

import re

from agentplugin.problems import Problem, error, shown

MAX_STEP = 9223372036
"""Longest step in seconds: one more and the agent's int64 of nanoseconds overflows."""

MAX_FILE_NAME = 255
"""Longest file name in bytes on every file system an agent runs on."""

_STDERR_LOG_SUFFIX = "().stderr.log"
_INT64 = 1 << 63
_ATOI = re.compile(r"[+-]?[0-9]+")

# What editors, merge tools, packagers and interpreters leave beside a script.
_LEFTOVERS = (
    "~",
    ".bak",
    ".dpkg-dist",
    ".dpkg-new",
    ".dpkg-old",
    ".old",
    ".orig",
    ".pyc",
    ".pyo",
    ".rej",
    ".rpmnew",
    ".rpmorig",
    ".rpmsave",
    ".swo",
    ".swp",
    ".tmp",
)


class StepName:
    """A step script's file name: `step` in seconds, `name` is what follows the first "_"."""

    __slots__ = ("name", "step")

    def __init__(self, step: int, name: str) -> None:
        self.step = step
        self.name = name

    def __repr__(self) -> str:
        return f"StepName({self.step}, {self.name!r})"


def go_atoi(text: str) -> int | None:
    """What Go's strconv.Atoi makes of `text` on a 64 bit host; None where it returns an error."""
    if not _ATOI.fullmatch(text) or len(text) > 4096:
        return None
    number = int(text)
    return number if -_INT64 <= number < _INT64 else None


def parse_step(filename: str) -> int | None:
    """The step in seconds that the agent takes from a file of a bound directory.

    None means that the agent does not take the file for a plugin. What it takes may still have
    to be refused: see `refusal`.
    """
    head, separator, _ = filename.partition("_")
    return go_atoi(head) if separator else None


def file_bound_step(filename: str) -> int | None:
    """As `parse_step`, for a script that is bound by its own path: there "60" needs no "_"."""
    return go_atoi(filename.partition("_")[0])


def split_name(filename: str) -> StepName | None:
    """The parts of a step script's name, or None where `parse_step` gives None."""
    step = parse_step(filename)
    return None if step is None else StepName(step, filename.partition("_")[2])


def refusal(filename: str, path: str = "", *, file_bound: bool = False) -> Problem | None:
    """Why a name that the agent takes must be refused, or None where it is good or no plugin.

    `path` is put into the answer; it defaults to the file name.
    """
    step = file_bound_step(filename) if file_bound else parse_step(filename)
    if step is None:
        return None
    where = path or filename
    example = f"60_{_stem(filename) or 'name.py'}"
    if step <= 0:
        return error(
            where,
            "step-not-positive",
            f"step {step} is not above 0: the agent panics when it schedules it, which ends every "
            "plugin on the host, and again after each restart",
            f"begin the name with the seconds between two runs, e.g. {example}",
        )
    if step > MAX_STEP:
        return error(
            where,
            "step-overflow",
            f"step {step} s is more than {MAX_STEP} s: as int64 nanoseconds it overflows, which "
            "ends the agent or runs the script on a step nobody chose",
            f"give a step in seconds, e.g. {example}",
        )
    lowered = filename.lower()
    for suffix in _LEFTOVERS:
        if lowered.endswith(suffix):
            return error(
                where,
                "leftover-file",
                f"the agent would run this leftover ('{suffix}' at the end of the name) as a "
                "plugin of its own",
                "remove the file from git and add the pattern to .gitignore",
            )
    if _stem(lowered).startswith("readme") or lowered.endswith(".md"):
        return error(
            where,
            "documentation-as-plugin",
            f"the agent would run this text as a plugin every {step} s",
            "rename it so that no number and '_' come first, e.g. README.md",
        )
    return character_problem(filename, where) or _length_problem(filename, where)


def character_problem(name: str, where: str) -> Problem | None:
    """Why a file's or directory's name breaks the log, `/plugins` or the portal, or None."""
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        return error(
            where,
            "name-control-character",
            f"the name {shown(name)} holds a control character: it breaks the agent's log lines "
            "and cannot be typed in a binding",
            "rename it",
        )
    if any(0xD800 <= ord(char) <= 0xDFFF for char in name):
        return error(
            where,
            "name-not-utf8",
            "the name is not UTF-8: /plugins shows it as another name, and the portal cannot hold "
            "it",
            "rename it, or convert the name to UTF-8",
        )
    return None


def _length_problem(filename: str, where: str) -> Problem | None:
    if len(filename.encode("utf-8")) + len(_STDERR_LOG_SUFFIX) > MAX_FILE_NAME:
        return error(
            where,
            "name-too-long",
            f"the name leaves no room for '{_STDERR_LOG_SUFFIX}' in {MAX_FILE_NAME} bytes: the "
            "agent cannot write the stderr log, and then it drops the metrics too",
            f"shorten the name to {MAX_FILE_NAME - len(_STDERR_LOG_SUFFIX)} bytes",
        )
    return None


def _stem(filename: str) -> str:
    return filename.partition("_")[2]
