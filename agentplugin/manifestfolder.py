"""What is wrong with a manifest plugin's folder: its plugin.json and the files that belong to it
(rules: 175 public repositories of such plugins)."""

from __future__ import annotations

import json
import os

from agentplugin.commandline import split_words
from agentplugin.manifest import Manifest, ManifestError, parse
from agentplugin.plans import MANIFEST_NAME
from agentplugin.problems import Problem, error, shown, warning
from agentplugin.treescan import Directory, Entry

_CODE_SUFFIXES = (".py", ".js", ".sh", ".rb", ".pl", ".lua", ".jar", ".ps1")


def folder_problems(directory: Directory) -> tuple[Manifest | None, list[Problem]]:
    """The manifest in a folder that holds one, None where it cannot be read, and all findings."""
    entry = directory.find(MANIFEST_NAME)
    if entry is None or not entry.is_script_like:
        return None, []
    try:
        manifest = parse(entry.content(), entry.path)
    except ManifestError as err:
        return None, [err.as_problem()]
    except OSError:
        # The unreadable file has its finding already.
        return None, []
    folder = os.path.dirname(entry.full)
    return manifest, [
        *manifest.validate(),
        *_command_file_problems(manifest, folder),
        *_companion_problems(directory, manifest, folder),
    ]


def command_entry(manifest: Manifest, directory: Directory) -> Entry | None:
    """The file right in the folder that the manifest's command starts, or None."""
    first = split_words(manifest.effective_command)[0]
    return directory.find(first[2:]) if first.startswith("./") else None


def _command_file_problems(manifest: Manifest, folder: str) -> list[Problem]:
    problems: list[Problem] = []
    first, *others = split_words(manifest.effective_command)
    own_program = "/" in first and not first.startswith("/") and "$(" not in first
    named = [word for word in others if word.endswith(_CODE_SUFFIXES) and "$(" not in word]
    for word in [first, *named] if own_program else named:
        full = os.path.join(folder, word)
        if not os.path.isfile(full):
            problems.append(
                warning(
                    manifest.path,
                    "manifest-command-file-missing",
                    f"the command names {shown(word)}, which is not in the folder: unless "
                    "postExtract makes it, every start fails",
                    "commit the file or correct the command",
                )
            )
        elif word == first and not os.stat(full).st_mode & 0o111:
            problems.append(
                error(
                    manifest.path,
                    "manifest-command-not-executable",
                    f"the command is {shown(word)}, which has no execute bit: every start fails",
                    f"git update-index --chmod=+x {word}, or put its interpreter before it",
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
    definitions = directory.find("metrics.json")
    if definitions is not None and definitions.is_script_like:
        problems += _definition_problems(definitions)
    if manifest.icon and not os.path.isfile(os.path.join(folder, manifest.icon)):
        problems.append(
            warning(
                manifest.path,
                "manifest-icon-missing",
                f"the icon {shown(manifest.icon)} is not in the folder",
                "add the file or remove the field",
            )
        )
    return problems


def _definition_problems(entry: Entry) -> list[Problem]:
    try:
        json.loads(entry.content().decode("utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        return [
            warning(
                entry.path,
                "metrics-json-broken",
                f"the metric definitions are not JSON: {err}",
                "mend the syntax",
            )
        ]
    return []
