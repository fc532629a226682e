"""Routes of JSON Schemas; open to everybody, as editors send no token (media type: JSON Schema 2020-12,
section 14).
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

from fastapi import APIRouter, Response

from agentplugin.manifestschema import schema
from controller.web.etags import etag, matches
from controller.web.headers import IfNoneMatch
from controller.web.problems import answers

MEDIA_TYPE = "application/schema+json"

router = APIRouter(prefix="/schemas", tags=["schemas"])


@lru_cache(maxsize=1)
def _plugin_manifest() -> tuple[bytes, str]:
    """The schema as it is sent, and its digest."""
    body = json.dumps(schema(), indent=2).encode()
    return body, hashlib.sha256(body).hexdigest()[:16]


class SchemaResponse(Response):
    """A JSON Schema."""

    media_type = MEDIA_TYPE


@router.get(
    "/plugin-manifest",
    summary="Read the JSON Schema of plugin.json",
    description="JSON Schema (2020-12) of a manifest plugin's `plugin.json`, as lenient as the lint; "
    "for editors, so it needs no token.",
    response_class=SchemaResponse,
    responses={
        200: {"content": {MEDIA_TYPE: {"schema": {"type": "object"}}}},
        304: {"description": "It is what the caller has (If-None-Match)."},
        **answers(422),
    },
)
def read_plugin_manifest_schema(if_none_match: IfNoneMatch = None) -> Response:
    body, version = _plugin_manifest()
    headers = {"ETag": etag(version), "Cache-Control": "public, max-age=300"}
    if matches(if_none_match, version):
        return Response(status_code=304, headers=headers)
    return SchemaResponse(body, headers=headers)
