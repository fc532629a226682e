"""`plugfleet plugin`, `host plugins` and `source import`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from controller.fleet.models import Host
from controller.plugins.health import PluginState, keep
from tests.controller.cli.conftest import Command
from tests.controller.plugins.conftest import write_http_check
from tests.controller.server import Api
from tests.controller.sources import SourceRepository

MakeSource = Callable[..., SourceRepository]

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_a_catalogue_is_imported_listed_and_looked_at(
    api: Api, plugfleet: Command, make_source: MakeSource, tmp_path: Path
) -> None:
    base, check = make_source("base"), make_source("check", "")
    write_http_check(check, "plugin")
    check.commit()
    file = tmp_path / "sources.yml"
    file.write_text(
        f"- {{path: base, url: {base.path}}}\n"
        f"- {{path: httpcheck, url: {check.path}, ref: main, subdir: plugin}}\n"
    )
    dry = plugfleet("source", "import", file, "--dry-run").out
    assert "Would be added: 2" in dry and "httpcheck" in dry
    assert "Sources added: 2" in plugfleet("source", "import", file, "--fetch").out
    assert "unchanged: 2" in plugfleet("source", "import", file).out
    file.write_text(file.read_text().replace("ref: main", "ref: stable"))
    assert "ref was main" in plugfleet("source", "import", file, "--dry-run").out
    plugfleet("release", "publish")
    listed = plugfleet("plugin", "list").out
    assert "base/sys/ntp" in listed and "600_ntp.py" in listed and "HTTP check" in listed
    rows = plugfleet("plugin", "list", "-q", "answer", "--tag", "web", "--json").json()
    assert [row["path"] for row in rows] == ["httpcheck"]

    plugfleet("host", "add", "web1")
    plugfleet("bind", "add", "all", "base/sys/ntp")
    with api.context.database.write() as session:
        host = session.query(Host).one()
        keep(session, {host.id: [PluginState("base/sys/ntp/600_ntp.py", "parked", "5 failures")]})
    shown = plugfleet("plugin", "show", "base/sys/ntp", "--hosts").out
    for part in ("parked=1", "600_ntp.py", "5 failures", "web1", "all"):
        assert part in shown
    assert "5 failures" in plugfleet("host", "plugins", "web1").out
    shown = plugfleet("plugin", "show", "httpcheck").out
    for part in ("duration", "password", "python3 check.py", str(check.path)):
        assert part in shown
    assert "has no plugin" in plugfleet("plugin", "show", "nothing", code=2).err


def test_a_list_is_read_from_csv_json_and_an_export(plugfleet: Command, tmp_path: Path) -> None:
    csv, json = tmp_path / "sources.csv", tmp_path / "sources.json"
    csv.write_text("\ufeffpath;url;ref\ncpu;/srv/cpu;main\ndisk;/srv/disk;\n")
    json.write_text('{"sources": {"one": {"url": "/srv/one", "path": "one"}}}')
    assert "Sources added: 2" in plugfleet("source", "import", csv).out
    assert "Sources added: 1" in plugfleet("source", "import", json).out
    text = "plugin_sources:\n  - url: /srv/root\n"
    assert "Sources added: 1" in plugfleet("source", "import", "-", given=text).out
    rows = plugfleet("source", "list", "--json").json()
    assert {row["name"]: row["path"] for row in rows} == {
        "cpu": "cpu",
        "disk": "disk",
        "one": "one",
        "root": "",
    }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "path,uri\nx,y\n", "a.csv:1: the columns are path, uri"),
        ("a.csv", "path,url\nx\n", "a.csv:2: not as many fields"),
        ("a.csv", "path,url\nx,y,z\n", "a.csv:2: not as many fields"),
        ("a.csv", 'url\n"x', "not CSV"),
        ("a.csv", "", "the columns are none"),
        ("a.yml", "- url: [", "a.yml:"),
        ("a.yml", "just text", "holds no list of sources"),
        ("a.yml", "- {path: x, url: 'ext::id'}", "remote helper"),
        ("a.yml", "- {path: x}", "body.sources.0.url"),
    ],
)
def test_a_list_that_cannot_be_read_says_where(
    plugfleet: Command, tmp_path: Path, name: str, text: str, said: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    found = plugfleet("source", "import", file, code=2)
    assert said in found.err


def test_what_is_neither_a_file_nor_a_repository_is_said(
    plugfleet: Command, tmp_path: Path, make_source: MakeSource
) -> None:
    assert "there is no file" in plugfleet("source", "import", "missing.yml", code=2).err
    words = ("source", "import", make_source().path)
    assert "holds no submodules" in plugfleet(*words, code=2).err
    file = tmp_path / "a.yml"
    file.write_text("- {path: x, url: /x}")
    assert "--ref" in plugfleet("source", "import", file, "--ref", "main", code=2).err
    refused = tmp_path / "b.yml"
    refused.write_text("- {path: x, url: 'ext::id'}\n- {path: y, url: /y}\n")
    found = plugfleet("source", "import", refused, "--skip-refused", code=2)
    assert "added: 1" in found.out and "refused: 1" in found.out
