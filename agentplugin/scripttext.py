"""What only a look at all of a script tells: that it compiles, what it prints, how it ends."""

from __future__ import annotations

from agentplugin.content import ending_problem
from agentplugin.entrychecks import LARGE_BYTES
from agentplugin.nulloutput import null_problem
from agentplugin.problems import Problem
from agentplugin.pythonsyntax import syntax_problem
from agentplugin.treescan import Entry


def text_problems(entry: Entry, program: str, *, runnable: bool) -> list[Problem]:
    """Findings in the text of a script that begins with '#!'.

    program   its interpreter, e.g. "python3"
    runnable  whether nothing was found that keeps it from being started
    """
    if entry.size > LARGE_BYTES:
        return []
    try:
        source = entry.content()
    except OSError:
        # Removed since its first bytes were read: then it is not in the tree.
        return []
    found = [null_problem(entry.path, source), ending_problem(entry.path, source)]
    if runnable and program.startswith("python"):
        found.append(syntax_problem(entry.path, source, program))
    return [problem for problem in found if problem is not None]
