"""A manifest plugin's `plugin.json`: read strictly as JSON, leniently as a manifest (rules: 172
public manifests and graphdat/relay, which ran them). What is broken is said, never repaired."""

from __future__ import annotations

from agentplugin import commandline, parameters
from agentplugin.manifestfields import Fields, ParamArray
from agentplugin.manifestjson import ManifestError, load
from agentplugin.parameters import ConfigError, Param
from agentplugin.problems import ERROR, Problem, error, shown, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_BYTES = 4 << 20
"""What a plugin.json may have, as reading one costs memory; public ones have some KiB."""

__all__ = ["ConfigError", "Manifest", "ManifestError", "Param", "ParamArray", "parse"]


class Manifest:
    """One manifest plugin as its author describes it.

    path                 of its plugin.json, for messages
    command              "" where there is only a Lua one
    metrics              declared ids; the first is what a line without a name means
    param_schema         its Params, in order;  param_array  a ParamArray, or None
    ignore               path prefixes that are no part of the plugin's code
    unsupported_platforms  names of operating systems, e.g. "Windows"
    disabled, ignore_errors  as in the manifest, False without
    raw                  the whole object, for fields that only people read
    """

    __slots__ = (
        "command",
        "command_lua",
        "description",
        "disabled",
        "field_problems",
        "icon",
        "ignore",
        "ignore_errors",
        "metrics",
        "name",
        "param_array",
        "param_schema",
        "path",
        "poll_interval",
        "post_extract",
        "raw",
        "tags",
        "unsupported_platforms",
        "version",
    )

    def __init__(self, path: str, raw: dict[str, Any]) -> None:
        fields = Fields(path, raw)
        self.path = path
        self.raw = raw
        self.name = fields.text("name")
        self.description = fields.text("description")
        self.version = fields.text("version")
        self.icon = fields.text("icon")
        self.command = fields.text("command")
        self.command_lua = fields.text("command_lua")
        older = fields.text("postInstall")
        self.post_extract = fields.text("postExtract") or older
        # One public manifest lists [""], as it prints metrics of any name.
        self.metrics = [name for name in fields.texts("metrics") if name.strip()]
        self.ignore = [prefix for prefix in fields.text_or_texts("ignore") if prefix]
        self.tags = fields.comma_list("tags")
        self.unsupported_platforms = fields.platforms()
        self.param_schema = fields.params()
        self.param_array = fields.param_array()
        self._require_what_the_command_needs()
        self.poll_interval = raw.get(parameters.POLL_INTERVAL)
        self.disabled = raw.get("disabled") is True
        self.ignore_errors = raw.get("ignoreErrors") is True
        self.field_problems = fields.problems

    @property
    def effective_command(self) -> str:
        """The command to run: the plain one where it needs no meter, else the Lua one if any."""
        if self.command and not _is_meter(self.command):
            return self.command
        return self.command_lua or self.command

    @property
    def command_field(self) -> str:
        """The name of the field that holds it."""
        return "command" if self.effective_command == self.command else "command_lua"

    @property
    def needs_meter(self) -> bool:
        """Whether the command is the later meter's Lua runtime: state `unsupported-runtime`."""
        return _is_meter(self.effective_command)

    def ignores(self, path: str) -> bool:
        """Whether a path of the plugin's folder is no part of its code; param.json never is."""
        lowered = path.lower()
        return any(lowered.startswith(prefix.lower()) for prefix in (*self.ignore, "param.json"))

    def _require_what_the_command_needs(self) -> None:
        """A macro of a parameter for which nothing stands in: its value has to be asked for."""
        if self.param_array is not None:
            return
        macros = commandline.macros(self.effective_command)
        needed = {name.lower() for name, optional in macros if not optional}
        for param in self.param_schema:
            if param.key.lower() in needed and param.key != parameters.POLL_INTERVAL:
                param.required = param.required or param.type not in parameters.FILLED_IN

    def validate(self) -> list[Problem]:
        """What is wrong with the manifest itself, without any configuration."""
        # Only the lint and the controller ask; an executor need not hold this in memory.
        from agentplugin.manifestchecks import manifest_problems

        return manifest_problems(self)

    def check_config(self, config: dict[str, Any]) -> list[Problem]:
        """What is wrong with a configuration; with an error the plugin must not be started."""
        problems = self._shape_problems(config)
        if problems:
            return problems
        if self.param_array is None:
            problems = parameters.check(self.param_schema, config, self.path, "config")
        else:
            for number, item in enumerate(config["items"]):
                problems += parameters.check(self.param_schema, item, self.path, f"items[{number}]")
        if not any(problem.severity == ERROR for problem in problems):
            values = self.values(config)
            problems += commandline.unfilled(self.effective_command, values, self.path)
        return problems

    def _shape_problems(self, config: dict[str, Any]) -> list[Problem]:
        items = config.get("items")
        if self.param_array is None:
            declared = any(param.key == "items" for param in self.param_schema)
            if not isinstance(items, list) or declared:
                return []
            return [
                error(
                    self.path,
                    "config-items",
                    "the configuration has items, but the manifest has no paramArray",
                    "give the parameters themselves",
                )
            ]
        if not isinstance(items, list) or not items:
            return [
                error(
                    self.path,
                    "config-items",
                    "the manifest has a paramArray, and the configuration has no items: there is "
                    "nothing to watch, so the plugin is not started",
                    'give {"items": [{...}]}',
                )
            ]
        return [
            error(
                self.path,
                "config-items",
                f"items[{number}] is {type(item).__name__}, not an object",
                'give {"items": [{...}]}',
            )
            for number, item in enumerate(items)
            if not isinstance(item, dict)
        ]

    def values(self, config: dict[str, Any]) -> dict[str, Any]:
        """The object that goes into param.json, defaults filled in. Raises ConfigError.

        pollInterval is passed through as given where the manifest declares it, because its unit is
        the plugin's own; where it does not, it is poll_interval_ms(config).
        """
        for problem in self._shape_problems(config):
            raise ConfigError(problem)
        if self.param_array is None:
            result = parameters.rendered(self.param_schema, config)
            declared = any(param.key == parameters.POLL_INTERVAL for param in self.param_schema)
        else:
            items = [parameters.rendered(self.param_schema, item) for item in config["items"]]
            result = dict(config, items=items)
            declared = False
        if not declared or result.get(parameters.POLL_INTERVAL) in (None, ""):
            result[parameters.POLL_INTERVAL] = self.poll_interval_ms(config)
        return result

    def poll_interval_ms(self, config: dict[str, Any]) -> int:
        """How often the plugin's process is looked after, in ms."""
        given = config.get(parameters.POLL_INTERVAL)
        if given is None and self.param_array is None:
            for param in self.param_schema:
                if param.key == parameters.POLL_INTERVAL:
                    given = param.default
        return parameters.poll_interval_ms(self.poll_interval if given is None else given)

    def param_json(self, config: dict[str, Any]) -> str:
        """param.json's text, 3 spaces deep, no line end after it. Raises ConfigError."""
        return parameters.as_json(self.values(config), self.path)

    def argv(self, config: dict[str, Any]) -> list[str]:
        """The command's argument vector, `node` with --expose-gc. Raises ConfigError."""
        return commandline.argv(self.effective_command, self.values(config), self.path)


def parse(text: str | bytes, path: str = "plugin.json") -> Manifest:
    """Reads a plugin.json. Raises ManifestError where it is no JSON object; `validate` the rest."""
    raw, repeated = load(text, path)
    manifest = Manifest(path, raw)
    for key in repeated:
        manifest.field_problems.append(
            warning(
                path,
                "manifest-duplicate-key",
                f"{shown(key)} stands twice in one object: the last one counts",
                "keep one of them",
                pointer=f"/{key}" if key in raw else None,
            )
        )
    return manifest


def _is_meter(command: str) -> bool:
    words = commandline.split_words(command)
    return words[0].rpartition("/")[2] in commandline.METER_COMMANDS
