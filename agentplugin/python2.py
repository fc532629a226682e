"""Whether a plugin's Python code is Python 2, found out without running it (rules: 36 of 172 public
manifests start `python`, and are of 2014 to 2018; what Python 3 lacks of Python 2)."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator

NAMES = ("basestring", "long", "raw_input", "reduce", "unichr", "unicode", "xrange")
"""Built-in names that Python 3 has not."""

MODULES = ("ConfigParser", "HTMLParser", "Queue", "StringIO", "__builtin__", "cPickle",
           "cStringIO", "commands", "cookielib", "httplib", "urllib2", "urlparse",
           "xmlrpclib")  # fmt: skip
"""Modules that Python 3 has not, or has under another name."""

_IMPORT = re.compile(rb"^[ \t]*(?:from|import)[ \t]+([A-Za-z_][A-Za-z0-9_]*)", re.MULTILINE)


def imported(source: bytes) -> list[str]:
    """The first names of what a file imports, in whichever Python it is written."""
    return [name.decode() for name in dict.fromkeys(_IMPORT.findall(source))]


def uses_python2(source: bytes) -> tuple[str, int] | None:
    """What a file that compiles uses that Python 3 has not, and its line, or None.

    What stands inside a `try`, or is given a meaning in the file, is made for both.
    """
    import ast  # only the lint asks

    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    stored = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    }
    try:
        found = [*_used(tree, stored)]
    except RecursionError:
        return None
    return min(found, key=lambda used: used[1]) if found else None


def _used(node: ast.AST, stored: set[str]) -> Iterator[tuple[str, int]]:
    import ast

    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Try):
            continue
        if isinstance(child, ast.Import):
            for alias in child.names:
                if alias.name.split(".")[0] in MODULES:
                    yield f"import {alias.name}", child.lineno
            stored.update(alias.asname or alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            if not child.level and (child.module or "").split(".")[0] in MODULES:
                yield f"from {child.module} import", child.lineno
            stored.update(alias.asname or alias.name for alias in child.names)
        elif isinstance(child, ast.Name) and child.id in NAMES and child.id not in stored:
            yield child.id, child.lineno
        yield from _used(child, stored)
