"""What a host runs: step scripts and manifest plugins with all that bindings say of them."""

from __future__ import annotations

from agentplugin import formats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentplugin.problems import Problem


class PlannedScript:
    """A step script to run.

    key   as `/plugins` shows it: the path for a bound directory's, "path(args)" for a bound script
    path  in the tree;  step  in seconds;  args  the arguments that are passed
    """

    __slots__ = ("args", "key", "path", "step")

    def __init__(self, key: str, path: str, step: int, args: list[str]) -> None:
        self.key = key
        self.path = path
        self.step = step
        self.args = args

    def __repr__(self) -> str:
        return f"PlannedScript({self.key!r}, step={self.step})"


class PlannedManifest:
    """A manifest plugin to run.

    path    its folder in the tree, or a program that is bound by itself with a format
    key     the path; "path(args)" for a program
    config  its configuration: flat, or {"items": [...]} where the manifest has a paramArray
    format  what it prints, a formats.Format
    """

    __slots__ = ("config", "format", "key", "path")

    def __init__(
        self,
        path: str,
        config: dict[str, Any],
        format_: formats.Format | None = None,
        key: str = "",
    ) -> None:
        self.key = key or path
        self.path = path
        self.config = config
        self.format = format_ or formats.Format()

    def __repr__(self) -> str:
        return f"PlannedManifest({self.key!r})"


class Resolution:
    """What the bindings come to: `scripts` and `manifests` by key, `problems` as they arose."""

    __slots__ = ("manifests", "problems", "scripts")

    def __init__(self) -> None:
        self.scripts: list[PlannedScript] = []
        self.manifests: list[PlannedManifest] = []
        self.problems: list[Problem] = []
