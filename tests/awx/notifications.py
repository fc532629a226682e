"""What AWX asks for of a notification, by its type.

Rules: `init_parameters` of awx/main/notifications, and `NotificationTemplateSerializer.validate` of AWX.
"""

from __future__ import annotations

from typing import Any

_TYPES: dict[str, type] = {
    "string": str,
    "password": str,
    "int": int,
    "bool": bool,
    "list": list,
    "object": dict,
}
# Name -> type, and the value that AWX fills in where there is one.
_ASKED: dict[str, dict[str, tuple[Any, ...]]] = {
    "webhook": {
        "url": ("string",),
        "http_method": ("string", "POST"),
        "disable_ssl_verification": ("bool", False),
        "username": ("string", ""),
        "password": ("password", ""),
        "headers": ("object",),
    },
    "email": {
        "host": ("string",),
        "port": ("int",),
        "username": ("string",),
        "password": ("password",),
        "use_tls": ("bool",),
        "use_ssl": ("bool",),
        "sender": ("string",),
        "recipients": ("list",),
        "timeout": ("int", 30),
    },
}


def completed(kind: str, given: Any) -> dict[str, Any]:
    """A configuration with what AWX fills in."""
    asked = _ASKED.get(kind, {})
    return {name: one[1] for name, one in asked.items() if len(one) > 1} | dict(given or {})


def faults(kind: str, configuration: dict[str, Any]) -> dict[str, list[str]]:
    """What is wrong with a whole configuration."""
    if kind not in _ASKED:
        return {"notification_type": [f'"{kind}" is not a valid choice.']}
    asked = _ASKED[kind]
    said = []
    for name, (type_, *_) in asked.items():
        value = configuration.get(name)
        if name not in configuration:
            continue
        if type(value) is not _TYPES[type_]:
            said.append(f"Configuration field '{name}' incorrect type, expected {type_}.")
        elif type_ == "list" and not value:
            said.append(f"No values specified for field '{name}'")
        elif name == "http_method" and str(value).lower() not in ("put", "post"):
            said.append("HTTP method must be either 'POST' or 'PUT'.")
    if missing := [name for name in asked if name not in configuration]:
        said.append(f"Missing required fields for Notification Configuration: {missing}.")
    return {"__all__": said} if said else {}
