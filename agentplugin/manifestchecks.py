"""What is wrong with a manifest before it ever runs (rules: what graphdat/relay did with each
fault, and what 172 public manifests contain)."""

from __future__ import annotations

from agentplugin import commandline
from agentplugin.parameters import POLL_INTERVAL
from agentplugin.problems import Problem, error, info, shown, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentplugin.manifest import Manifest


def manifest_problems(manifest: Manifest) -> list[Problem]:
    """All findings on one manifest, those of its fields first."""
    return [
        *manifest.field_problems,
        *_command_problems(manifest),
        *_metric_problems(manifest),
        *_macro_problems(manifest),
        *_scope_problems(manifest),
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
    problems: list[Problem] = []
    if manifest.needs_meter:
        problems.append(
            info(
                manifest.path,
                "manifest-unsupported-runtime",
                f"{shown(command)} needs the TrueSight meter's Lua runtime: hosts show it as "
                "unsupported-runtime and do not try",
                "give a command in another language, or configure an interpreter for it",
            )
        )
    if command.count('"') % 2:
        problems.append(
            error(
                manifest.path,
                "manifest-command-quote",
                f'the command {shown(command)} has an open ": the rest becomes one word',
                'close it with "',
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
            )
        )
    return problems


def _metric_problems(manifest: Manifest) -> list[Problem]:
    if not manifest.metrics:
        return [
            warning(
                manifest.path,
                "manifest-no-metrics",
                "metrics is missing or empty: lines without a metric's name are lost, and a wrong "
                "name cannot be told from a right one",
                "list the metrics that the plugin prints",
            )
        ]
    problems: list[Problem] = []
    for name in manifest.metrics:
        if not name or " " in name or name != name.strip():
            problems.append(
                error(
                    manifest.path,
                    "manifest-metric-name",
                    f"the metric {shown(name)} can never match a line: a name ends at a space",
                    "use letters, digits and _",
                )
            )
    upper = [name.upper() for name in manifest.metrics]
    for name in sorted({name for name in upper if upper.count(name) > 1}):
        problems.append(
            warning(
                manifest.path,
                "manifest-metric-twice",
                f"the metric {shown(name)} is listed twice",
                "list each once",
            )
        )
    return problems


def _macro_problems(manifest: Manifest) -> list[Problem]:
    problems: list[Problem] = []
    known = {param.key.lower(): param for param in manifest.param_schema}
    command = manifest.effective_command
    for name, optional in commandline.macros(command):
        param = known.get(name.lower())
        if param is not None and param.type == "password":
            problems.append(
                warning(
                    manifest.path,
                    "manifest-password-argument",
                    f"the command passes the password $({name}) as an argument, where every user "
                    "of the host can read it",
                    "read it from param.json, which only the agent's user can",
                )
            )
        if optional or name.lower() == POLL_INTERVAL.lower():
            continue
        if param is None or manifest.param_array is not None:
            why = (
                "is not in paramSchema"
                if param is None
                else "belongs to each item, and one process serves all items"
            )
            problems.append(
                warning(
                    manifest.path,
                    "manifest-macro-unknown",
                    f"$({name}) in the command {why}: without a value the plugin cannot start",
                    f"write $({name}?) where it may be missing, or declare it",
                )
            )
    if command.count("$(") > len(commandline.macros(command)):
        problems.append(
            warning(
                manifest.path,
                "manifest-macro-form",
                f"the command {shown(command)} has a '$(' that is no macro: it stays as it is",
                "write $(name) with letters, digits and _",
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
            )
        )
    if manifest.post_extract:
        problems.append(
            info(
                manifest.path,
                "manifest-post-extract",
                f"postExtract {shown(manifest.post_extract)} is a command to run at installation: "
                "it runs only where an operator allows it",
                "ship what it would fetch, or allow it for the hosts that need it",
            )
        )
    if manifest.disabled:
        problems.append(
            info(
                manifest.path,
                "manifest-disabled",
                "the manifest says disabled: the plugin is not started",
                "remove the field to run it",
            )
        )
    return problems
