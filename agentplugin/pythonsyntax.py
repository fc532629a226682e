"""Whether a Python script compiles, found out without running it."""

from __future__ import annotations

import sys
import warnings

from agentplugin.problems import Problem, error, shown, warning


def syntax_problem(path: str, source: bytes, program: str) -> Problem | None:
    """A script's first syntax error, or None. `program` is its interpreter, e.g. "python3".

    Judged by the Python that this runs on: where a script may mean another one ("python") it is
    only a warning, and Python 2 is not judged at all.
    """
    if program.startswith("python2"):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, path, "exec", dont_inherit=True)
    except SyntaxError as err:
        line, reason, near = err.lineno, err.msg or "invalid syntax", (err.text or "").strip()
    except (ValueError, RecursionError, MemoryError, OverflowError) as err:
        line, reason, near = None, str(err) or "nested too deep", ""
    else:
        return None
    say = error if program.startswith("python3") else warning
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return say(
        path,
        "python-syntax",
        f"Python {version} cannot compile it: {reason}" + (f" near {shown(near)}" if near else ""),
        "mend the syntax: every run would end with a traceback and no data",
        line,
    )
