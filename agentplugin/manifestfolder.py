"""What is wrong with a manifest plugin's folder: its plugin.json and the files that belong to it
(rules: 175 public repositories of such plugins)."""

from __future__ import annotations

import os

from agentplugin import definitions
from agentplugin.commandline import split_words
from agentplugin.companions import icon_problems, npm_problems
from agentplugin.definitionchecks import definition_problems
from agentplugin.jsonplaces import lines
from agentplugin.manifest import MAX_BYTES, Manifest, ManifestError, parse
from agentplugin.manifestcode import own_file, python_problems
from agentplugin.plans import MANIFEST_NAME
from agentplugin.problems import ERROR, Problem, error, shown, warning
from agentplugin.treescan import Directory, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    SchemaCheck = Callable[[dict[str, Any]], Iterable[tuple[str, str]]]

_CODE_SUFFIXES = (".py", ".js", ".sh", ".rb", ".pl", ".lua", ".jar", ".ps1")


# Findings after which a field's type need not be told again.
_OF_TYPES = ("manifest-dashboard", "manifest-field-type", "manifest-param-nameless",
             "manifest-param-type")  # fmt: skip
_MAX_PROBLEMS = 100
_MAX_FROM_SCHEMA = 20
_MAX_LOOKED_INTO = (
    262_144  # bytes of a manifest in which lines and the schema's findings are looked up
)


def folder_problems(
    directory: Directory, schema: SchemaCheck | None = None
) -> tuple[Manifest | None, list[Problem]]:
    """The manifest in a folder that holds one, None where it cannot be read, and all findings.

    schema  says what the manifest's JSON Schema does not allow: JSON pointer and reason of each
    """
    entry = directory.find(MANIFEST_NAME)
    if entry is None or not entry.is_script_like:
        return None, []
    if entry.size > MAX_BYTES:
        return None, [_too_large(entry)]
    try:
        content = entry.content()
        manifest = parse(content, entry.path)
    except ManifestError as err:
        return None, [err.as_problem()]
    except OSError:
        # The unreadable file has its finding already.
        return None, []
    folder = os.path.dirname(entry.full)
    problems = [
        *manifest.validate(),
        *_command_file_problems(manifest, folder),
        *_companion_problems(directory, manifest, folder),
        *python_problems(manifest, folder),
    ]
    if len(content) <= _MAX_LOOKED_INTO:
        problems += _schema_problems(manifest, schema, problems) if schema is not None else []
        places = lines(content.decode("utf-8"), [p.pointer for p in problems if p.pointer])
        for problem in problems:
            if problem.pointer and problem.path == manifest.path:
                problem.line = places.get(problem.pointer)
    return manifest, _bounded(manifest, problems)


def _too_large(entry: Entry) -> Problem:
    return error(
        entry.path,
        "manifest-too-large",
        f"{MANIFEST_NAME} has {entry.size} bytes: hosts read no more than {MAX_BYTES}, so the plugin "
        "is never started",
        "put data into files of their own",
    )


def _bounded(manifest: Manifest, problems: list[Problem]) -> list[Problem]:
    """The gravest of the findings where there are very many."""
    if len(problems) <= _MAX_PROBLEMS:
        return problems
    ordered = sorted(problems, key=lambda problem: problem.severity != ERROR)
    return [
        *ordered[:_MAX_PROBLEMS],
        warning(
            manifest.path,
            "manifest-more-problems",
            f"{len(problems) - _MAX_PROBLEMS} more findings on this plugin are not shown",
            "mend the others first",
        ),
    ]


def _schema_problems(
    manifest: Manifest, schema: SchemaCheck, problems: list[Problem]
) -> list[Problem]:
    """What the schema does not allow and no finding says yet."""
    said = [problem.pointer or "" for problem in problems if problem.code in _OF_TYPES]
    found: list[Problem] = []
    for pointer, reason in schema(manifest.raw):
        if any(
            f"{pointer}/".startswith(f"{one}/") or one.startswith(f"{pointer}/") for one in said
        ):
            continue
        if len(found) == _MAX_FROM_SCHEMA:
            break
        found.append(
            warning(
                manifest.path,
                "manifest-schema",
                f"{pointer or 'the manifest'} {reason}: it counts as absent",
                "write it as the JSON Schema wants it (docs/writing-plugins.md, In your editor)",
                pointer=pointer,
            )
        )
    return found


def command_entry(manifest: Manifest, directory: Directory) -> Entry | None:
    """The file right in the folder that the manifest's command starts, or None."""
    first = split_words(manifest.effective_command)[0]
    return directory.find(first[2:]) if first.startswith("./") else None


def _command_file_problems(manifest: Manifest, folder: str) -> list[Problem]:
    problems: list[Problem] = []
    first, *others = split_words(manifest.effective_command)
    own_program = "/" in first and not first.startswith("/") and "$(" not in first
    if "/" not in first and first and own_file(folder, first) is not None:
        problems.append(
            warning(
                manifest.path,
                "manifest-command-not-on-path",
                f"the command starts {shown(first)} of its folder, but hosts look for a name without "
                "a '/' on PATH: they show unsupported-runtime",
                f"write ./{first}, or put its interpreter before it",
                pointer=f"/{manifest.command_field}",
            )
        )
    named = [word for word in others if word.endswith(_CODE_SUFFIXES) and "$(" not in word]
    for word in [first, *named] if own_program else named:
        full = own_file(folder, word)
        if full is None:
            problems.append(
                warning(
                    manifest.path,
                    "manifest-command-file-missing",
                    f"the command names {shown(word)}, which is not in the folder: unless "
                    "postExtract makes it, every start fails",
                    "commit the file or correct the command",
                    pointer=f"/{manifest.command_field}",
                )
            )
        elif word == first and not os.stat(full).st_mode & 0o111:
            problems.append(
                error(
                    manifest.path,
                    "manifest-command-not-executable",
                    f"the command is {shown(word)}, which has no execute bit: every start fails",
                    f"git update-index --chmod=+x {word}, or put its interpreter before it",
                    pointer=f"/{manifest.command_field}",
                )
            )
    return problems


def _companion_problems(directory: Directory, manifest: Manifest, folder: str) -> list[Problem]:
    problems: list[Problem] = []
    committed = directory.find("param.json")
    if committed is not None:
        problems.append(
            warning(
                committed.path,
                "param-json-committed",
                "a committed param.json is never used: each host gets its own. Public ones often "
                "hold live passwords",
                "remove it from git; put an example into the README",
            )
        )
    described = directory.find(definitions.FILE_NAME)
    if described is not None and described.is_script_like:
        problems += _definition_problems(described, manifest)
    return [*problems, *icon_problems(manifest, folder), *npm_problems(manifest, folder)]


def _definition_problems(entry: Entry, manifest: Manifest) -> list[Problem]:
    try:
        content = entry.content()
    except OSError:
        # The unreadable file has its finding already.
        return []
    return definition_problems(entry.path, content, manifest)
