"""Writes docs/rest-api.md from the OpenAPI document: `make docs`. A test fails where it is out of date."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from controller.app import create_app, open_context
from controller.settings import Settings

DOCUMENT = Path(__file__).with_name("rest-api.md")
_METHODS = ("get", "post", "put", "patch", "delete")
_HEAD = """# REST API

Written by `make docs` from the OpenAPI document, which a controller serves at `/openapi.json` (and, for
people, at `/docs`).

Every request but those that say "no token" carries `Authorization: Bearer pf_...`. A token has a scope, each
including the one before: viewer (look), operator (change hosts, hostgroups and bindings; publish, deploy,
roll back), admin (sources, tokens, keys). A token that is limited to hostgroups sees and changes only what is
in them.

**Errors** are problem documents (RFC 9457, `application/problem+json`): `detail` says what was wrong, `hint`
what to do, `fields` which fields were refused, `code` is for programs, `request_id` finds the request in the
controller's log.

**Lists** come by page: `limit` entries, then `next` is the `cursor` of the page that follows, and null on the
last one. `sort` takes the name of a column, with `-` before it for descending.

**Changes** of something that was read before: send its `ETag` as `If-Match`. Who was overtaken by somebody
else gets 412 and nothing was changed.

**What starts something** takes an `Idempotency-Key`: the same request with the same key is carried out once,
and answered alike.
"""


def openapi() -> dict[str, Any]:
    """The document of an application that nothing was put into."""
    with tempfile.TemporaryDirectory() as folder:
        context = open_context(Settings(data_dir=Path(folder)))
        try:
            return create_app(context).openapi()
        finally:
            context.database.close()


def page(document: Mapping[str, Any]) -> str:
    """The page, as Markdown."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                operation = operations[method]
                lines = _operation(document, method, path, operation)
                by_tag.setdefault(operation.get("tags", ["other"])[0], []).append("\n".join(lines))
    parts = [_HEAD]
    for tag in sorted(by_tag):
        parts.append(f"## {tag.capitalize()}\n")
        parts += by_tag[tag]
    parts.append("## What requests and answers hold\n")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(f"### {name}\n\n{_text(schema.get('description', ''))}\n")
        if "properties" in schema:
            parts.append("| name | kind | meaning |\n|---|---|---|")
            parts += [
                f"| `{field}` | {_kind(value)} | {_text(value.get('description', ''))} |"
                for field, value in schema["properties"].items()
            ]
            parts.append("")
        elif "enum" in schema:
            parts.append(f"One of {_kind(schema)}.\n")
    return "\n".join(parts).rstrip() + "\n"


def _operation(
    document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]
) -> Iterator[str]:
    yield f"### `{method.upper()} {path}`\n"
    yield f"**{operation['summary']}** ({_scope(operation)})\n"
    if "description" in operation:
        yield f"{operation['description']}\n"
    rows = [
        f"| `{p['name']}` | {p['in']} | {_kind(p['schema'])} | {_text(p.get('description', ''))} |"
        for p in operation.get("parameters", ())
    ]
    rows += _body(document, operation)
    if rows:
        yield "| name | in | kind | meaning |\n|---|---|---|---|"
        yield "\n".join(rows) + "\n"
    yield f"Answers: {', '.join(_answer(*entry) for entry in operation['responses'].items())}\n"


def _scope(operation: Mapping[str, Any]) -> str:
    scopes = [scope for entry in operation.get("security", ()) for scope in entry["HTTPBearer"]]
    return f"scope {scopes[0]}" if scopes else "no token"


def _body(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[str]:
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(document, content.get("schema", {}))
        properties = schema.get("properties")
        if not properties:
            yield f"| (body) | body | {media} | {_text(schema.get('description', ''))} |"
            continue
        for name, field in properties.items():
            required = " (required)" if name in schema.get("required", ()) else ""
            meaning = _text(field.get("description", ""))
            yield f"| `{name}`{required} | body | {_kind(field)} | {meaning} |"


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return found


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a word or two."""
    if "$ref" in schema:
        name = str(schema["$ref"].rsplit("/", 1)[1])
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(_kind(part) for part in schema[key])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any")


def _answer(status: str, response: Mapping[str, Any]) -> str:
    content = response.get("content", {}).values()
    kinds = [_kind(entry["schema"]) for entry in content if "schema" in entry]
    if status >= "400" or not kinds:
        return status
    return f"{status} {kinds[0]}"


def _text(value: str) -> str:
    """Text for a cell of a table."""
    return " ".join(value.split()).replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.write_text(page(openapi()))
