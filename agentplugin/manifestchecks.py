"""What is wrong with a manifest before it ever runs (rules: what graphdat/relay did with each
fault, and what 172 public manifests contain)."""

from __future__ import annotations

import re

from agentplugin import commandline, dashboards
from agentplugin.parameters import POLL_INTERVAL
from agentplugin.problems import Problem, error, info, shown, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentplugin.manifest import Manifest

_CONTROL = re.compile("[\x00-\x1f\x7f]")
_FETCHING = ("apt", "apt-get", "bower", "cpan", "cpanm", "curl", "dnf", "gem", "git", "luarocks",
             "npm", "pip", "pip2", "pip3", "wget", "yarn", "yum")  # fmt: skip


def manifest_problems(manifest: Manifest) -> list[Problem]:
    """All findings on one manifest, those of its fields first."""
    return [
        *manifest.field_problems,
        *_command_problems(manifest),
        *_metric_problems(manifest),
        *_macro_problems(manifest),
        *_scope_problems(manifest),
        *dashboards.problems(manifest),
    ]


def _command_problems(manifest: Manifest) -> list[Problem]:
    command = manifest.effective_command
    if not command.strip():
        return [
            error(
                manifest.path,
                "manifest-no-command",
                "there is no command, so there is nothing to run",
                'write "command": "python3 plugin.py"',
            )
        ]
    pointer = f"/{manifest.command_field}"
    problems = _character_problems(manifest, pointer, command)
    if manifest.needs_meter:
        problems.append(
            info(
                manifest.path,
                "manifest-unsupported-runtime",
                f"{shown(command)} needs the TrueSight meter's Lua runtime: hosts show it as "
                "unsupported-runtime and do not try",
                "give a command in another language, or configure an interpreter for it",
                pointer=pointer,
            )
        )
    if command.count('"') % 2:
        problems.append(
            error(
                manifest.path,
                "manifest-command-quote",
                f'the command {shown(command)} has an open ": the rest becomes one word',
                'close it with "',
                pointer=pointer,
            )
        )
    elif "" in commandline.split_words(command):
        say = error if command.startswith(" ") else warning
        problems.append(
            say(
                manifest.path,
                "manifest-command-spaces",
                f"the command {shown(command)} has a space too many: it becomes an empty argument",
                "put one space between the words and none around them",
                pointer=pointer,
            )
        )
    return problems


def _character_problems(manifest: Manifest, pointer: str, command: str) -> list[Problem]:
    """What a command line must not, or should not, hold: it is split at spaces alone."""
    strange = _CONTROL.search(command)
    if strange is None:
        return []
    say = error if "\0" in command else warning
    what = "a NUL" if "\0" in command else f"the character {strange.group()!r}"
    effect = "no program can be given one" if "\0" in command else "it stays a part of its word"
    return [
        say(
            manifest.path,
            "manifest-command-character",
            f"{pointer[1:]} {shown(command)} holds {what}: {effect}",
            "put single spaces between the words, nothing else",
            pointer=pointer,
        )
    ]


def _metric_problems(manifest: Manifest) -> list[Problem]:
    if not manifest.metrics:
        return [
            warning(
                manifest.path,
                "manifest-no-metrics",
                "metrics is missing or empty: lines without a metric's name are lost, and a wrong "
                "name cannot be told from a right one",
                "list the metrics that the plugin prints",
                pointer="/metrics",
            )
        ]
    problems: list[Problem] = []
    for number, name in enumerate(manifest.raw["metrics"]):
        if not name or " " in name or name != name.strip():
            problems.append(
                warning(
                    manifest.path,
                    "manifest-metric-name",
                    f"the metric {shown(name)} can never match a line: a name ends at a space",
                    "use letters, digits and _",
                    pointer=f"/metrics/{number}",
                )
            )
    seen: set[str] = set()
    twice: set[str] = set()
    for name in manifest.metrics:
        (twice if name.upper() in seen else seen).add(name.upper())
    for name in sorted(twice):
        problems.append(
            warning(
                manifest.path,
                "manifest-metric-twice",
                f"the metric {shown(name)} is listed twice",
                "list each once",
                pointer="/metrics",
            )
        )
    return problems


def _macro_problems(manifest: Manifest) -> list[Problem]:
    problems: list[Problem] = []
    known = {param.key.lower(): param for param in manifest.param_schema}
    command = manifest.effective_command
    pointer = f"/{manifest.command_field}"
    for name, optional in commandline.macros(command):
        param = known.get(name.lower())
        if param is not None and param.is_secret:
            problems.append(
                warning(
                    manifest.path,
                    "manifest-password-argument",
                    f"the command passes the password $({name}) as an argument, where every user "
                    "of the host can read it",
                    "read it from param.json, which only the agent's user can",
                    pointer=pointer,
                )
            )
        if optional or name.lower() == POLL_INTERVAL.lower():
            continue
        if param is None or manifest.param_array is not None:
            why, hint = (
                (
                    "is not in paramSchema",
                    f"write $({name}?) where it may be missing, or declare it",
                )
                if param is None
                else (
                    "belongs to each item, and one process serves all items",
                    "let the plugin read param.json, and take the macro out of the command",
                )
            )
            problems.append(
                warning(
                    manifest.path,
                    "manifest-macro-unknown",
                    f"$({name}) in the command {why}: without a value the plugin cannot start",
                    hint,
                    pointer=pointer,
                )
            )
    if command.count("$(") > len(commandline.macros(command)):
        problems.append(
            warning(
                manifest.path,
                "manifest-macro-form",
                f"the command {shown(command)} has a '$(' that is no macro: it stays as it is",
                "write $(name) with letters, digits and _",
                pointer=pointer,
            )
        )
    return problems


def _scope_problems(manifest: Manifest) -> list[Problem]:
    problems: list[Problem] = []
    if any(name.lower() == "linux" for name in manifest.unsupported_platforms):
        problems.append(
            info(
                manifest.path,
                "manifest-platform",
                "unsupportedPlatforms names Linux: the plugin is not started on Linux hosts",
                "bind it to hosts of another system",
                pointer="/unsupportedPlatforms",
            )
        )
    if manifest.post_extract:
        problems += _extract_problems(manifest)
    if manifest.disabled:
        problems.append(
            info(
                manifest.path,
                "manifest-disabled",
                "the manifest says disabled: the plugin is not started",
                "remove the field to run it",
                pointer="/disabled",
            )
        )
    return problems


def _extract_problems(manifest: Manifest) -> list[Problem]:
    command = manifest.post_extract
    pointer = "/postExtract" if manifest.raw.get("postExtract") == command else "/postInstall"
    problems = _character_problems(manifest, pointer, command)
    words = commandline.split_words(command.strip())
    fetches = words[0].rpartition("/")[2] in _FETCHING or words[1:3] == ["-m", "pip"]
    said = (
        f"postExtract {shown(command)} is a command to run at installation: it runs only where an "
    )
    if fetches:
        problems.append(
            warning(
                manifest.path,
                "manifest-post-extract-network",
                f"{said}operator allows it, and fetches from the network: it fails on every host "
                "that cannot reach that server",
                "ship what it would fetch, or bind it only where the server can be reached",
                pointer=pointer,
            )
        )
    else:
        problems.append(
            info(
                manifest.path,
                "manifest-post-extract",
                f"{said}operator allows it",
                "ship what it would make, or allow it for the hosts that need it",
                pointer=pointer,
            )
        )
    return problems
