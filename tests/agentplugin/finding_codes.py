"""Reads the finding codes out of agentplugin's source, so that tests know when one is new."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "agentplugin"

# Where the code stands among the arguments of each function that makes a finding.
_POSITION = {
    "error": 1,
    "warning": 1,
    "info": 1,
    "_drop": 1,
    "_misfit": 1,
    "BindingError": 0,
    "Problem": 3,
    "ItemProblem": 2,
}
_SEVERITIES = {"ERROR", "WARNING", "INFO"}


def codes_in(*modules: str) -> set[str]:
    """Every code that these modules (all, if none is named) can put into a finding."""
    files = [PACKAGE / f"{name}.py" for name in modules] or sorted(PACKAGE.glob("*.py"))
    found: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                code = _code(node)
                if code is not None:
                    found.add(code)
    return found


def _code(call: ast.Call) -> str | None:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if name in ("say", "_say"):
        position = 2 if len(call.args) > 2 and _is_severity(call.args[1]) else 1
    elif name in _POSITION:
        position = _POSITION[name]
    else:
        return None
    if position < len(call.args):
        argument = call.args[position]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            return argument.value
    return None


def _is_severity(node: ast.expr) -> bool:
    return any(getattr(inner, "id", None) in _SEVERITIES for inner in ast.walk(node))
