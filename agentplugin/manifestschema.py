"""The JSON Schema (2020-12) of plugin.json, for editors and for the lint: as lenient as the readers of
the manifest are, from whose tables it takes the types; here are the words for people."""

from __future__ import annotations

from agentplugin.forms import DIALECT
from agentplugin.manifestfields import (
    LIST,
    OBJECT,
    PLATFORMS,
    TEXT,
    TEXT_OR_TEXTS,
    TEXTS,
    TYPES,
)
from agentplugin.manifestparams import ELEMENT_WORDS, TYPE_WORDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCHEMA_ID = "urn:plugfleet:schema:plugin-manifest"

_TEXT: dict[str, Any] = {"type": ["string", "null"]}
_TEXTS: dict[str, Any] = {"type": ["array", "null"], "items": {"type": "string"}}
_TEXT_OR_TEXTS: dict[str, Any] = {"type": ["string", "array", "null"], "items": {"type": "string"}}
_FLAG: dict[str, Any] = {"type": ["boolean", "null"]}


def _word(name: str) -> str:
    """A regular expression for a word whatever its case, as those of JSON Schema know no flags."""
    return "".join(f"[{char.upper()}{char}]" for char in name)


def _one_of(words: tuple[str, ...]) -> str:
    return rf"^\s*({'|'.join(_word(name) for name in words)})\s*$"


def _type(words: tuple[str, ...], title: str) -> dict[str, Any]:
    """A parameter's `type`: one of the words, or an enum's labels and values."""
    return {
        "title": title,
        "description": f"{', '.join(words)}, or an object with the choices of an enum.",
        "type": ["string", "object"],
        "pattern": _one_of(words),
        "examples": list(words),
        "required": ["enum"],
        "properties": {
            "enum": {
                "title": "Choices",
                "description": "[label, value] for each choice.",
                "type": "array",
                "minItems": 1,
                "items": {"type": "array", "minItems": 2, "maxItems": 2},
            }
        },
    }


_PLATFORMS = {
    "type": ["array", "null"],
    "items": {
        "type": ["object", "string"],
        "required": ["osFamily"],
        "properties": {
            "osFamily": {
                "title": "Operating system",
                "type": "string",
                "examples": ["Linux", "Windows", "Darwin", "FreeBSD", "Solaris", "SmartOS"],
            }
        },
    },
}

_PARAM_ARRAY = {
    "type": ["object", "null"],
    "properties": {
        "itemTitle": {
            "title": "Keys whose values name an item",
            **_TEXT_OR_TEXTS,
        },
        "schemaTitle": {"title": "What an item is called", **_TEXT},
    },
}

_ELEMENTS = {
    "title": "What an array holds",
    "description": "An object with a type, or the type itself; null is the same as leaving it out.",
    "type": ["object", "string", "null"],
    "pattern": _one_of(ELEMENT_WORDS),
    "required": ["type"],
    "properties": {"type": _type(ELEMENT_WORDS, "Type of the elements")},
}


def _key(field: str) -> dict[str, Any]:
    return {"properties": {field: {"type": "string", "minLength": 1}}, "required": [field]}


_PARAM = {
    "type": "object",
    "required": ["type"],
    "anyOf": [_key("name"), _key("title")],
    "if": {
        "properties": {"type": {"type": "string", "pattern": _one_of(("array",))}},
        "required": ["type"],
    },
    "then": {"properties": {"items": _ELEMENTS}},
    "properties": {
        "name": {
            "title": "Key",
            "description": "The key under which the plugin reads it; without one, the title is.",
            **_TEXT,
        },
        "title": {"title": "Label in the dialog", **_TEXT},
        "description": {"title": "Explanation in the dialog", **_TEXT},
        "type": _type(TYPE_WORDS, "Type of the value"),
        "default": {"title": "Value where none is given", "description": "Of any type."},
        "required": {
            "title": "Whether a value must be given",
            "description": "true, false, or one of them in quotes.",
            "type": ["boolean", "string", "null"],
            "pattern": _one_of(("true", "false")),
        },
        "items": {"title": "What an array holds"},
    },
}

_OF_TYPE: dict[str, dict[str, Any]] = {
    TEXT: _TEXT,
    TEXTS: _TEXTS,
    TEXT_OR_TEXTS: _TEXT_OR_TEXTS,
    PLATFORMS: _PLATFORMS,
    OBJECT: _PARAM_ARRAY,
    LIST: {"type": ["array", "null"], "items": _PARAM},
}

_ABOUT: dict[str, tuple[str, str]] = {
    "name": ("Title", "For people; the plugin's id is its folder's name."),
    "description": ("Description", "What it watches, for people."),
    "version": ("Version", "For people; any text."),
    "icon": ("Icon", "A PNG file of 48x48 pixels in the folder."),
    "command": (
        "Command",
        'Program and arguments, split at single spaces, only " quotes; no shell. $(name) is a '
        "parameter's value, $(name?) one that may be missing.",
    ),
    "command_lua": ("Command for the later meter's Lua runtime", "Used where there is no other."),
    "postExtract": (
        "Command after installation",
        "Runs once a release in the plugin's working copy, only where an operator allows it.",
    ),
    "postInstall": ("Older name of postExtract", ""),
    "metrics": (
        "Metrics",
        "Names that the plugin prints; the first is meant by lines that name none.",
    ),
    "ignore": ("Ignored paths", "Prefixes of paths that are no part of the plugin's code."),
    "tags": ("Tags", "Comma separated, or a list."),
    "unsupportedPlatforms": ("Unsupported platforms", "Where it is not started."),
    "paramArray": ("Several items", "Present where the parameters are those of each item."),
    "paramSchema": ("Parameters", "What can be configured, in the dialog's order."),
}

_SHOWN_ONLY: dict[str, dict[str, Any]] = {
    "pollInterval": {
        "title": "Poll interval in ms",
        "description": "Between two starts of a plugin that ends by itself; 1000 where not given.",
        "type": ["number", "string", "null"],
        "pattern": r"^\s*[+-]?[0-9]+\s*$",
    },
    "disabled": {"title": "Not to be started", **_FLAG},
    "ignoreErrors": {"title": "Exit codes other than 0 are no failure", **_FLAG},
    "dashboards": {
        "title": "Dashboards",
        "description": "Where each metric's graph stands.",
        "type": ["array", "object", "null"],
    },
    "meterVersionRequired": {"title": "Least version of the original meter", **_TEXT},
    "postExtract_lua": {"title": "postExtract of the Lua variant", **_TEXT},
    "postInstall_lua": {"title": "Older name of postExtract_lua", **_TEXT},
    "os": {"title": "Operating systems, for people", **_TEXT_OR_TEXTS},
    "secure": {"title": "Known of public manifests; means nothing here", **_FLAG},
}
"""Fields whose wrong type does no harm where the plugin runs, so that only the schema tells of it."""


def schema() -> dict[str, Any]:
    """The JSON Schema of plugin.json. Unknown keys are allowed, everywhere."""
    properties: dict[str, Any] = {}
    for field, type_ in TYPES.items():
        title, description = _ABOUT[field]
        about = {"title": title, "description": description} if description else {"title": title}
        properties[field] = {**about, **_OF_TYPE[type_]}
    return {
        "$schema": DIALECT,
        "$id": SCHEMA_ID,
        "title": "plugin.json of a manifest plugin",
        "description": "Boundary / TrueSight Pulse meter plugins, as plugfleet reads them: leniently, "
        "as public manifests are. What is of a wrong type counts as absent.",
        "type": "object",
        "properties": {**properties, **_SHOWN_ONLY},
    }
