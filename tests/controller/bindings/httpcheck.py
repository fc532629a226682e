"""A manifest plugin that watches several items, and what binds it."""

from __future__ import annotations

import json
from typing import Any

from tests.controller.server import Api

URL = {"title": "Url", "name": "url", "type": "string", "required": True}
PORT = {"title": "Port", "name": "port", "type": "integer"}
PASSWORD = {"title": "Password", "name": "password", "type": "password"}
TOKENS = {"title": "Tokens", "name": "tokens", "type": "array", "items": {"type": "password"}}


def manifest(*params: dict[str, Any], several: bool = True) -> str:
    array = {"paramArray": {"itemTitle": ["url"], "schemaTitle": "Item"}} if several else {}
    return json.dumps(
        {
            "name": "httpcheck",
            "description": "Checks web pages",
            "version": "1.0",
            "command": "./check.sh",
            "metrics": ["M"],
            "paramSchema": list(params),
            **array,
        }
    )


def bind(api: Api, status: int = 201, **body: Any) -> Any:
    return api.send("POST", "bindings", status, json={"hostgroup": "web", **body})


def http(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"plugin": "httpcheck", "config": {"items": list(items)}, **more}
