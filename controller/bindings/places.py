"""Secret values in configurations, and the places where they stand.

A path is `password` or `items/0/password`, with `~1` for a slash in a name and `~0` for `~` (as in RFC 6901).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

REFERENCE = "$secret"
_DRAWN = re.compile("[0-9a-f]{8}/")
Path = tuple[Union[str, int], ...]  # Python 3.9 makes no union of types by |


@dataclass(frozen=True)
class Sealed:
    """A secret value; None is one that was named and not given yet.

    Attributes:
        name: that it is kept by further down than at the top; empty as long as none was drawn.
    """

    value: Any = field(repr=False)
    name: str = field(default="", compare=False)


def is_drawn(name: str) -> bool:
    """Whether a secret's name was drawn for it; others are what a document called it."""
    return _DRAWN.match(name) is not None


def key_of(path: str) -> str:
    """The key at which a secret stands in JSON: `password` for `items/0/password`."""
    named = [part for part in path.split("/") if not part.isdecimal()]
    return unescaped(named[-1]) if named else path


def sealed_in(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Sealed]]:
    """The secrets of a part of a configuration, each with its path."""
    if isinstance(tree, Sealed):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from sealed_in(value, (*path, key))
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from sealed_in(value, (*path, number))


def holder_of(tree: Any, parts: Sequence[str | int]) -> Any:
    """The object or list that a path's last part is in, or None."""
    for number in range(len(parts) - 1):
        last = last_of(tree, parts[: number + 1])
        if last is None:
            return None
        tree = tree[last]
    return tree if isinstance(tree, (dict, list)) else None


def last_of(holder: Any, parts: Sequence[str | int], *, new: bool = False) -> Any:
    """A path's last part as its holder's key or index; None where the holder has no such."""
    part = str(parts[-1])
    if isinstance(holder, list):
        fits = part.isdecimal() and len(part) < 10 and int(part) < len(holder)
        return int(part) if fits else None
    return part if isinstance(holder, dict) and (new or part in holder) else None


def text_of(path: Path) -> str:
    """A path as people write it."""
    return "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path)


def parts_of(path: str) -> list[str]:
    """The keys and numbers of a path that somebody wrote."""
    return [unescaped(part) for part in path.split("/")]


def unescaped(part: str) -> str:
    """A part of a path as its key is."""
    return part.replace("~1", "/").replace("~0", "~")
