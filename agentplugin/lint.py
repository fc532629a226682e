"""The lint of a plugin tree: everything that would keep a plugin from delivering data, or harm an
agent, said before any host has it (rules: the other modules here; every code: docs/lint.md)."""

from __future__ import annotations

import os

from agentplugin import content, fixes, names
from agentplugin.entrychecks import entry_problems, stray_problem
from agentplugin.manifestfolder import command_entry, folder_problems
from agentplugin.plans import MANIFEST_NAME
from agentplugin.problems import ERROR, INFO, WARNING, Problem, error, info, shown, warning
from agentplugin.scripttext import text_problems
from agentplugin.shebangs import read_shebang
from agentplugin.treescan import DIRECTORY, Directory, Entry, scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from agentplugin.manifestfolder import SchemaCheck

LONG_STEP = 86400
"""Seconds; a longer step is more often a date in a file's name than meant."""


class Report:
    """What a tree holds and what is wrong with it; `problems` sorted by path and line, `fixes` by path."""

    __slots__ = ("fixes", "plugins", "problems")

    def __init__(
        self, plugins: list[dict[str, Any]], problems: list[Problem], found: list[fixes.Fix]
    ) -> None:
        self.plugins = plugins
        self.problems = problems
        self.fixes = found

    def as_dict(self) -> dict[str, Any]:
        """The report as `plugfleet lint --json` prints it."""
        return {
            "plugins": self.plugins,
            "problems": [
                {**problem.as_dict(), "fixable": problem.fixable} for problem in self.problems
            ],
            "fixes": [{**fix.as_dict(), "path": _printable(fix.path)} for fix in self.fixes],
        }


def lint_tree(root: str, schema: SchemaCheck | None = None) -> Report:
    """Lints the tree below `root`; a `.git` at its top is not a part of it.

    schema  holds a manifest against its JSON Schema (see agentplugin.manifestfolder): a validator is
            no part of the standard library, so callers that have one bring it

    Nothing is executed. Raises OSError where `root` is no directory that can be read.
    """
    directories, problems = scan(root)
    linter = _Linter(schema)
    for directory in directories:
        linter.directory(directory)
    problems += linter.problems
    if not linter.plugins and not any(problem.severity == ERROR for problem in problems):
        problems.append(
            warning(
                ".",
                "no-plugins",
                "nothing in here is a plugin, so hosts would get a tree that runs nothing",
                "name scripts by their step, e.g. sys/60_load.sh, or name the folder that holds "
                "the plugins",
            )
        )
    for problem in problems:
        problem.path = _printable(problem.path)
    problems.sort(key=Problem.sort_key)
    plugins = sorted(linter.plugins, key=lambda plugin: str(plugin["path"]))
    found = sorted(linter.fixes.values(), key=lambda fix: (fix.path, fix.name))
    return Report(plugins, problems, found)


class _Linter:
    """Goes through the directories, parents first, and remembers which of them hold what."""

    def __init__(self, schema: SchemaCheck | None) -> None:
        self._schema = schema
        self.plugins: list[dict[str, Any]] = []
        self.problems: list[Problem] = []
        self.fixes: dict[tuple[str, str], fixes.Fix] = {}
        self._script_directories: set[str] = set()
        self._manifest_directories: set[str] = set()

    def directory(self, directory: Directory) -> None:
        for entry in directory.entries:
            self.problems += entry_problems(entry)
        manifest_above = _nearest(directory.path, self._manifest_directories)
        if directory.find(MANIFEST_NAME) is not None and manifest_above is None:
            self._manifest_directories.add(directory.path)
            self._manifest(directory)
            manifest_above = directory.path
        if manifest_above is not None:
            self._scripts_beside_manifest(directory, manifest_above)
        else:
            self._scripts(directory)

    def _scripts(self, directory: Directory) -> None:
        seen: dict[tuple[int, str], Entry] = {}
        for entry in directory.entries:
            step_name = names.split_name(entry.name)
            if entry.kind == DIRECTORY:
                continue
            if step_name is None:
                if entry.is_script_like and not entry.name.startswith("."):
                    self._stray(entry)
                continue
            if entry.target_kind == DIRECTORY:
                self.problems.append(
                    error(
                        entry.path,
                        "symlink-to-directory",
                        "the agent takes this link to a directory for a plugin and fails to "
                        "execute it at every step",
                        "rename the link so that no number and '_' come first, or remove it",
                    )
                )
            elif entry.is_script_like and self._script(entry, step_name):
                self._same_name(entry, step_name, seen)
        if seen:
            above = _nearest(directory.path, self._script_directories)
            if above is not None:
                self.problems.append(
                    info(
                        directory.path,
                        "separate-plugin-directory",
                        f"binding {shown(above)} does not run the scripts in here: agents do not "
                        "look into sub-directories",
                        f"bind {shown(directory.path)} as well where they are wanted",
                    )
                )
            self._script_directories.add(directory.path)

    def _script(self, entry: Entry, step_name: names.StepName) -> bool:
        """Checks one file that the agent takes for a plugin; whether it is one."""
        refused = names.refusal(entry.name, entry.path)
        if refused is not None:
            # A bad character is said once, for every kind of entry.
            if refused != names.character_problem(entry.name, entry.path):
                self.problems.append(refused)
            return False
        if step_name.step > LONG_STEP:
            self.problems.append(
                warning(
                    entry.path,
                    "step-very-long",
                    f"step {step_name.step} s is {step_name.step / LONG_STEP:.0f} days, and the "
                    "first run comes after one whole step",
                    "if the number is a date or a version, put the step before it",
                )
            )
        try:
            head = entry.head()
        except OSError:
            # Said already, as for every unreadable file.
            return False
        found = content.script_problems(entry.path, head, entry.mode)
        self.problems += [problem for problem in found if problem.code != "lfs-pointer"]
        shebang = read_shebang(head)
        program = shebang.program if shebang is not None else ""
        if shebang is not None:
            runnable = not any(problem.severity == ERROR for problem in found)
            in_text = text_problems(entry, program, runnable=runnable)
            self.problems += in_text
            found += in_text
        self._note_fixes(entry, found)
        self.plugins.append(
            {
                "path": _printable(entry.path),
                "kind": "step-script",
                "step": step_name.step,
                "directory": _printable(entry.path.rpartition("/")[0] or "."),
                "interpreter": program,
            }
        )
        return True

    def _note_fixes(self, entry: Entry, problems: list[Problem]) -> None:
        for problem in problems:
            try:
                fix = fixes.fix_for(problem.code, entry)
            except OSError:
                # Removed since its first bytes were read: then it is not in the tree.
                return
            if fix is not None:
                problem.fixable = not fix.left
                if fix.left:
                    problem.hint = f"{problem.hint}; not fixable by itself, as {fix.left}"
                self.fixes.setdefault((fix.path, fix.name), fix)

    def _stray(self, entry: Entry) -> None:
        try:
            problem = stray_problem(entry, entry.head())
        except OSError:
            return
        if problem is not None:
            self.problems.append(problem)

    def _same_name(
        self, entry: Entry, step_name: names.StepName, seen: dict[tuple[int, str], Entry]
    ) -> None:
        stem = step_name.name.rpartition(".")[0] or step_name.name
        first = seen.setdefault((step_name.step, stem), entry)
        if first is not entry:
            self.problems.append(
                warning(
                    entry.path,
                    "same-step-and-name",
                    f"{shown(first.name)} has the same step and name: both run, and if they print "
                    "the same metrics the values mix",
                    "remove one, or name it for what it measures",
                )
            )

    def _scripts_beside_manifest(self, directory: Directory, manifest: str) -> None:
        for entry in directory.entries:
            if entry.is_script_like and names.parse_step(entry.name) is not None:
                self.problems.append(
                    warning(
                        entry.path,
                        "step-script-in-manifest",
                        f"the folder {shown(manifest)} is a manifest plugin, so this is not run as "
                        "a step script; a Falcon agent that binds the folder would",
                        "move it into a directory of its own, or rename it",
                    )
                )

    def _manifest(self, directory: Directory) -> None:
        manifest, problems = folder_problems(directory, self._schema)
        self.problems += problems
        if manifest is None:
            return
        command = command_entry(manifest, directory)
        if command is not None:
            self._note_fixes(command, problems)
        self.plugins.append(
            {
                "path": _printable(directory.path),
                "kind": "manifest",
                "step": None,
                "name": manifest.name or directory.path.rpartition("/")[2],
                "command": manifest.effective_command,
                "runtime": "meter" if manifest.needs_meter else "command",
                "metrics": manifest.metrics,
                "parameters": [param.key for param in manifest.param_schema],
                "items": manifest.param_array is not None,
            }
        )


def summary(plugins: Sequence[Mapping[str, Any]], severities: Sequence[str]) -> str:
    """One line for people: "12 step scripts, 1 manifest plugin: 2 errors, 1 warning, 0 notes".

    severities  of the findings
    """
    scripts = sum(plugin["kind"] == "step-script" for plugin in plugins)
    parts = [
        _counted(severities.count(ERROR), "error"),
        _counted(severities.count(WARNING), "warning"),
        _counted(severities.count(INFO), "note"),
    ]
    return (
        f"{_counted(scripts, 'step script')}, "
        f"{_counted(len(plugins) - scripts, 'manifest plugin')}: {', '.join(parts)}"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _nearest(path: str, directories: set[str]) -> str | None:
    """The closest directory above `path` that is in the set."""
    while path != ".":
        path = path.rpartition("/")[0] or "."
        if path in directories:
            return path
    return None


def _printable(path: str) -> str:
    """A path whose undecodable bytes are written as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
