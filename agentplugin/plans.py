"""From bindings and a plugin tree to what runs: the Open-Falcon agent's rules (source:
cron/plugin.go), but what it skips silently is said, what would end it is left out, and folders
with a plugin.json are plugins as well."""

from __future__ import annotations

from agentplugin import formats, names
from agentplugin.bindings import Binding, BindingError, parse_binding
from agentplugin.planned import PlannedManifest, PlannedScript, Resolution
from agentplugin.problems import Problem, error, info, shown, warning
from agentplugin.trees import FsTree, Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = [
    "MANIFEST_NAME",
    "FsTree",
    "Tree",
    "resolve",
]

MANIFEST_NAME = "plugin.json"


def resolve(bindings: Sequence[str | dict[str, Any]], tree: Tree) -> Resolution:
    """What a host with these bindings runs. Never raises for a bad binding: it is a problem.

    A binding is a text (see agentplugin.bindings), or {"plugin": folder, "config": {...}} for a
    manifest plugin.
    """
    return _Resolver(tree).resolve(bindings)


class _Resolver:
    """Gathers one resolution; scripts bound by themselves win over the directory they stand in."""

    __slots__ = ("_directories", "_manifests", "_result", "_scripts", "_taken", "_tree")

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._result = Resolution()
        self._scripts: dict[str, PlannedScript] = {}
        self._manifests: dict[str, PlannedManifest] = {}
        self._directories: list[str] = []
        self._taken: set[str] = set()

    def resolve(self, bindings: Sequence[str | dict[str, Any]]) -> Resolution:
        for number, entry in enumerate(bindings, 1):
            try:
                self._add(entry, number)
            except BindingError as err:
                where = entry if isinstance(entry, str) else f"binding {number}"
                self._say(error(where, err.code, err.message, err.hint))
        for directory in self._directories:
            self._list(directory)
        for key in sorted(self._scripts.keys() & self._manifests.keys()):
            self._conflict(key)
            del self._manifests[key]
        self._result.scripts = [self._scripts[key] for key in sorted(self._scripts)]
        self._result.manifests = [self._manifests[key] for key in sorted(self._manifests)]
        return self._result

    def _say(self, problem: Problem) -> None:
        if problem not in self._result.problems:
            self._result.problems.append(problem)

    def _add(self, entry: str | dict[str, Any], number: int) -> None:
        if isinstance(entry, dict):
            binding, config = self._manifest_entry(entry, number)
            format_ = formats.read(entry, config, number)
        elif isinstance(entry, str):
            binding, config, format_ = parse_binding(entry), None, formats.Format()
        else:
            raise BindingError(
                "binding-wrong-type",
                f"binding {number} is {type(entry).__name__}, not text or an object",
                'write "sys/ntp" or {"plugin": "httpcheck", "config": {}}',
            )
        path = binding.path
        if self._tree.isfile(path):
            if config is not None and format_.name != formats.BOUNDARY:
                key = f"{path}({','.join(format_.args)})"
                self._plan(PlannedManifest(path, config, format_, key))
                return
            if config is not None:
                raise BindingError(
                    "binding-not-a-manifest",
                    f"{shown(path)} is a script, it takes arguments and no configuration",
                    f'bind "{path}(arg1,arg2)", or say which "format" it prints',
                )
            self._bind_script(binding)
        elif self._tree.isdir(path):
            self._bind_directory(binding, config, format_)
        else:
            self._say(
                error(
                    binding.text,
                    "binding-not-found",
                    f"{shown(path)} is not in the plugin tree: an agent skips it silently",
                    "correct the path, or add the plugin to a source",
                )
            )

    def _manifest_entry(self, entry: dict[str, Any], number: int) -> tuple[Binding, dict[str, Any]]:
        path, config = entry.get("plugin"), entry.get("config", {})
        if not isinstance(path, str):
            raise BindingError(
                "binding-wrong-type",
                f'binding {number}: "plugin" must be text, is {type(path).__name__}',
                'write {"plugin": "httpcheck", "config": {...}}',
            )
        if not isinstance(config, dict):
            raise BindingError(
                "binding-wrong-type",
                f'binding {number} ({path}): "config" is {type(config).__name__}, not an object',
                'write {"plugin": "httpcheck", "config": {...}}',
            )
        binding = parse_binding(path)
        if binding.args is not None:
            raise BindingError(
                "binding-not-a-manifest",
                f"binding {number} ({path}): a manifest plugin takes no arguments",
                'put its parameters into "config"',
            )
        return binding, config

    def _bind_script(self, binding: Binding) -> None:
        path = binding.path
        name = path.rpartition("/")[2]
        self._taken.add(path)
        if name == MANIFEST_NAME:
            raise BindingError(
                "binding-not-a-script",
                f"{shown(path)} is a manifest, not a script",
                f'bind its folder: "{path.rpartition("/")[0] or "."}"',
            )
        step = names.file_bound_step(name)
        if step is None:
            self._say(
                error(
                    path,
                    "script-without-step",
                    f"the name of {shown(path)} begins with no step, so an agent never runs it",
                    f"name it by its seconds, e.g. 60_{name}",
                )
            )
            return
        refused = names.refusal(name, path, file_bound=True)
        if refused is not None:
            self._say(refused)
            return
        key = f"{path}({binding.args_text or ''})"
        self._scripts[key] = PlannedScript(key, path, step, binding.args or [])

    def _bind_directory(
        self, binding: Binding, config: dict[str, Any] | None, format_: formats.Format
    ) -> None:
        path = binding.path
        if binding.args is not None:
            raise BindingError(
                "binding-directory-arguments",
                f"{shown(path)} is a directory: an agent ignores its arguments",
                "bind the script itself, e.g. sys/ntp/60_offset.py(a,b)",
            )
        if self._tree.isfile(_join(path, MANIFEST_NAME)):
            self._bind_manifest(path, config, format_)
        elif config is not None:
            raise BindingError(
                "binding-not-a-manifest",
                f"{shown(path)} holds no {MANIFEST_NAME}, so it takes no configuration",
                f'bind "{path}" for its step scripts',
            )
        elif path not in self._directories:
            self._directories.append(path)

    def _bind_manifest(
        self, path: str, config: dict[str, Any] | None, format_: formats.Format
    ) -> None:
        if config is None and path in self._manifests:
            return  # a plain binding, as hbs tells them: the configured one says how it runs
        known = self._manifests.get(path)
        if known is not None and not known.config and known.format == formats.Format():
            del self._manifests[path]
        self._plan(PlannedManifest(path, config or {}, format_))

    def _plan(self, planned: PlannedManifest) -> None:
        """What is bound twice and alike runs once; two that differ would be a guess, one runs."""
        known = self._manifests.setdefault(planned.key, planned)
        if (known.path, known.config, known.format) != (
            planned.path,
            planned.config,
            planned.format,
        ):
            self._conflict(planned.key)

    def _conflict(self, key: str) -> None:
        self._say(
            error(
                key,
                "binding-config-conflict",
                f"{shown(key)} is bound twice with different configuration: the first stays",
                "give one configuration, or one with items of both",
            )
        )

    def _list(self, directory: str) -> None:
        found = False
        try:
            entries = self._tree.listdir(directory)
        except OSError as err:
            self._say(
                error(
                    directory,
                    "directory-unreadable",
                    f"cannot list {shown(directory)}: {err.strerror or err}",
                    "make the directory readable for the agent's user",
                )
            )
            return
        for name in entries:
            path = _join(directory, name)
            step = names.parse_step(name)
            if step is None or path in self._taken:
                found = found or path in self._taken
                continue
            if not self._tree.isfile(path):
                self._not_a_file(path)
                continue
            refused = names.refusal(name, path)
            if refused is not None:
                self._say(refused)
                continue
            found = True
            self._scripts[path] = PlannedScript(path, path, step, [])
        if not found:
            self._say(
                warning(
                    directory,
                    "directory-without-plugins",
                    f"{shown(directory)} holds no step script, so binding it runs nothing",
                    "bind a directory with files such as 60_name.py; sub-directories are bound by "
                    "themselves",
                )
            )

    def _not_a_file(self, path: str) -> None:
        if self._tree.isdir(path):
            self._say(
                info(
                    path,
                    "directory-named-like-a-plugin",
                    f"{shown(path)} is a directory with a step script's name: it is not run",
                    "bind the directory itself if it holds plugins",
                )
            )
            return
        self._say(
            error(
                path,
                "script-not-a-file",
                f"{shown(path)} is no regular file inside the tree (a dangling link, a link that "
                "leaves the tree, "
                "or a device)",
                "put the script itself there",
            )
        )


def _join(directory: str, name: str) -> str:
    return name if directory == "." else f"{directory}/{name}"
