"""What a dialog for a manifest plugin's configuration is drawn from: its fields, and a JSON Schema of
what it comes to (rules: agentplugin.manifest, which checks a configuration itself)."""

from __future__ import annotations

from agentplugin.parameters import MIN_POLL_INTERVAL, POLL_INTERVAL, first_of_each
from agentplugin.paramtypes import as_javascript

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentplugin.manifest import Manifest
    from agentplugin.parameters import Param

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_JSON_TYPES = {"string": "string", "password": "string", "integer": "integer",
               "number": "number", "boolean": "boolean"}  # fmt: skip


def form(manifest: Manifest) -> dict[str, Any]:
    """The description of the dialog, as JSON.

    multiple     whether the configuration is {"items": [{...}, ...]} with these fields in each item
    item_title   keys whose values name an item;  item_name  what an item is called
    fields       in the manifest's order; `required` is whether a value must be given, so not where a
                 default stands in for it; a secret's default is left out; `element` describes what
                 an array holds, null where that is not said
    json_schema  of the configuration; what it accepts, Manifest.check_config accepts (which also
                 takes "7" for 7)
    """
    params = first_of_each(manifest.param_schema)
    array = manifest.param_array
    return {
        "title": manifest.name,
        "description": manifest.description,
        "multiple": array is not None,
        "item_title": list(array.item_title) if array is not None else [],
        "item_name": array.schema_title if array is not None else "",
        "fields": [_field(param) for param in params],
        "json_schema": _json_schema(manifest, params),
    }


def _field(param: Param) -> dict[str, Any]:
    element = param.element
    return {
        "key": param.key,
        "title": param.title,
        "description": param.description,
        "type": param.type,
        "required": param.must_be_given,
        "default": _default(param),
        "choices": _choices(param),
        "element": (
            None if element is None else {"type": element.type, "choices": _choices(element)}
        ),
        "secret": param.is_secret,
    }


def _default(param: Param) -> Any:
    """The default in the parameter's type where it can be read so, None for a secret."""
    if param.is_secret or param.default is None or param.unfit(param.default):
        return None if param.is_secret else param.default
    return as_javascript(param.read(param.default))


def _choices(param: Param) -> list[dict[str, Any]]:
    return [
        {"label": label, "value": value}
        for label, value in zip(param.labels, param.choices)  # no strict= before 3.10
    ]


def _json_schema(manifest: Manifest, params: list[Param]) -> dict[str, Any]:
    properties: dict[str, Any] = {param.key: _property(param) for param in params}
    required = [param.key for param in params if param.must_be_given]
    fields: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    head = {"$schema": DIALECT, "title": manifest.name, "description": manifest.description}
    if manifest.param_array is None:
        properties.setdefault(POLL_INTERVAL, _poll_interval())
        # A manifest without paramArray takes no items.
        properties.setdefault("items", False)
        return {**head, **fields}
    items = {
        "type": "array",
        "title": manifest.param_array.schema_title,
        "minItems": 1,
        "items": fields,
    }
    return {
        **head,
        "type": "object",
        "properties": {"items": items, POLL_INTERVAL: _poll_interval()},
        "required": ["items"],
    }


def _poll_interval() -> dict[str, Any]:
    return {
        "type": "integer",
        "title": "Poll interval (ms)",
        "minimum": MIN_POLL_INTERVAL,
        "default": MIN_POLL_INTERVAL,
    }


def _property(param: Param) -> dict[str, Any]:
    about: dict[str, Any] = {"title": param.title, "description": param.description}
    default = _default(param)
    if default is not None:
        about["default"] = default
    about.update(_type(param))
    if param.must_be_given and about.get("type") == "string":
        about["minLength"] = 1
    if param.must_be_given and param.type == "enum":
        real = [choice for choice in about["anyOf"] if choice["const"] not in (None, "")]
        about["anyOf"] = real or [False]
    return about


def _type(param: Param) -> dict[str, Any]:
    if param.type == "enum":
        # Not oneOf: two labels may stand for one value.
        return {"anyOf": [{"const": choice["value"], "title": choice["label"]}
                          for choice in _choices(param)]}  # fmt: skip
    if param.type == "array":
        return {"type": "array", "items": True if param.element is None else _type(param.element)}
    about: dict[str, Any] = {"type": _JSON_TYPES[param.type]}
    if param.type == "password":
        about.update(format="password", writeOnly=True)
    return about
