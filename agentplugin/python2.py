"""Whether a plugin's Python code is Python 2, found out without running it (rules: 36 of 172 public
manifests start `python`, and are of 2014 to 2018; what Python 3 lacks of Python 2)."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Collection, Iterator

NAMES = ("basestring", "long", "raw_input", "reduce", "unichr", "unicode", "xrange")
"""Built-in names that Python 3 has not."""

MODULES = ("BaseHTTPServer", "ConfigParser", "HTMLParser", "Queue", "SimpleHTTPServer",
           "SocketServer", "StringIO", "__builtin__", "cPickle", "cStringIO", "commands",
           "cookielib", "httplib", "md5", "sets", "sha", "thread", "urllib2", "urlparse",
           "xmlrpclib")  # fmt: skip
"""Modules that Python 3 has not, or has under another name."""

_OF_URLLIB = ("quote", "quote_plus", "unquote", "unquote_plus", "urlencode", "urlopen",
              "urlretrieve")  # fmt: skip
_OF_DICTS = {"has_key": 1, "iteritems": 0, "iterkeys": 0, "itervalues": 0}  # name -> arguments
_GUARDS = ("PY2", "PY3", "hexversion", "version_info")

_IMPORT = re.compile(rb"^[ \t]*(?:from|import)[ \t]+([A-Za-z_][A-Za-z0-9_]*)", re.MULTILINE)


def imported(source: bytes) -> list[str]:
    """The first names of what a file imports, in whichever Python it is written."""
    return [name.decode() for name in dict.fromkeys(_IMPORT.findall(source))]


def uses_python2(source: bytes, own: Collection[str] = ()) -> tuple[str, int] | None:
    """What a file that compiles uses that Python 3 has not, and its line, or None.

    What stands inside a `try`, under an `if` that asks for the version, or is given a meaning in the
    file, is made for both.

    own  names of modules beside the file
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
        found = [*_used(tree, stored, own)]
    except RecursionError:
        return None
    return min(found, key=lambda used: used[1]) if found else None


def _used(node: ast.AST, stored: set[str], own: Collection[str]) -> Iterator[tuple[str, int]]:
    import ast

    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Try):
            continue
        if isinstance(child, (ast.If, ast.IfExp)) and _asks_for_version(child.test):
            continue
        if isinstance(child, ast.Import):
            for alias in child.names:
                if _is_gone(alias.name, own):
                    yield f"import {alias.name}", child.lineno
            stored.update(alias.asname or alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            if not child.level and _is_gone(child.module or "", own):
                yield f"from {child.module} import", child.lineno
            stored.update(alias.asname or alias.name for alias in child.names)
        elif isinstance(child, ast.Name) and child.id in NAMES and child.id not in stored:
            yield child.id, child.lineno
        elif isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute):
            yield from _called(child, child.func)
        yield from _used(child, stored, own)


def _is_gone(module: str, own: Collection[str]) -> bool:
    first = module.split(".")[0]
    return first in MODULES and first not in own


def _asks_for_version(test: ast.AST) -> bool:
    import ast

    return any(
        (isinstance(node, ast.Attribute) and node.attr in _GUARDS)
        or (isinstance(node, ast.Name) and node.id in _GUARDS)
        for node in ast.walk(test)
    )


def _called(call: ast.Call, method: ast.Attribute) -> Iterator[tuple[str, int]]:
    """A method of Python 2: urllib's that moved, a dict's that is gone."""
    import ast

    of_urllib = isinstance(method.value, ast.Name) and method.value.id == "urllib"
    if of_urllib and method.attr in _OF_URLLIB:
        yield f"urllib.{method.attr}", call.lineno
    elif _OF_DICTS.get(method.attr) == len(call.args) and not call.keywords:
        yield f".{method.attr}()", call.lineno
