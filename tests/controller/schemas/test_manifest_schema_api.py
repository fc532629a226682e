"""The JSON Schema of plugin.json over HTTP, and what publishing says of manifests that break it."""

from __future__ import annotations

from collections.abc import Callable

from jsonschema import Draft202012Validator

from agentplugin.manifestschema import schema
from tests.controller.server import Api
from tests.controller.sources import SourceRepository

PATH = "/api/v1/schemas/plugin-manifest"


def test_schema_is_open_to_editors_and_sent_once(api: Api) -> None:
    client = api.connect(None)
    first = client.get(api.url + PATH)
    assert (first.status_code, first.headers["content-type"]) == (200, "application/schema+json")
    Draft202012Validator.check_schema(first.json())
    assert first.json() == schema()
    again = client.get(api.url + PATH, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get(api.url + PATH, headers={"If-None-Match": '"0"'})
    assert other.status_code == 200


BROKEN = {
    "trailing/plugin.json": '{\n\t"command": "x",\n\t"metrics": ["A"],\n}\n',
    "open/plugin.json": '{\r\n  "command": "x,\r\n  "metrics": ["A"]\r\n}\r\n',
    "missing/plugin.json": '{\n  "command": "x"\n  "metrics": ["A"]\n}\n',
    "marked/plugin.json": "\ufeff{}",
}
SAID = {
    "trailing/plugin.json": "line 3 column 18: a comma stands before the closing '}'\n"
    '   "metrics": ["A"],\n' + " " * 19 + "^",
    "open/plugin.json": 'line 2 column 17: a string does not end on its line\n    "command": "x,\n'
    + " " * 18 + "^",
    "missing/plugin.json": "line 3 column 3: a comma or a closing bracket is missing before this\n"
    '    "metrics": ["A"]\n    ^',
    "marked/plugin.json": "line 1 column 1: a byte order mark stands before the JSON",
}  # fmt: skip


def test_publishing_points_at_the_place_where_a_manifest_is_broken(
    api: Api, make_source: Callable[..., SourceRepository]
) -> None:
    repository = make_source()
    for path, text in BROKEN.items():
        repository.write(path, text, 0o644)
    repository.commit()
    body = {"name": "plugins", "url": str(repository.path), "ref": "main"}
    api.send("POST", "sources", 201, json=body)
    refused = api.send("POST", "releases", 422, json={})
    found = {field["field"]: field["message"] for field in refused["fields"]}
    assert set(found) == set(SAID)
    for path, words in SAID.items():
        assert found[path].startswith(words), found[path]
        assert found[path].endswith("[manifest-not-json]") and words in refused["detail"]


def test_publishing_tells_what_the_schema_does_not_allow(
    api: Api, make_source: Callable[..., SourceRepository]
) -> None:
    repository = make_source()
    repository.write("m/plugin.json", '{"command": "x", "metrics": ["A"],\n"secure": "yes"}', 0o644)
    repository.commit()
    body = {"name": "plugins", "url": str(repository.path), "ref": "main"}
    api.send("POST", "sources", 201, json=body)
    released = api.send("POST", "releases", 201, json={})
    (problem,) = released["problems"]
    assert (problem["code"], problem["line"]) == ("manifest-schema", 2)
