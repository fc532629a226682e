"""A private source: its token is used, and is nowhere afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.conftest import MakeDeployment
from tests.deploy.deployment import Deployment
from tests.fleet import GitHttpServer

TOKEN = "glpat-S3cr3t"
Private = tuple[Deployment, GitHttpServer]


@pytest.fixture
def private(
    unprivileged: MakeDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Private]:
    """A deployment whose source asks for a user and a token over https."""
    made = unprivileged()
    repositories = {"plugins": made.source.path}
    with GitHttpServer(repositories, tmp_path / "https", users={"ops": TOKEN}) as server:
        monkeypatch.setenv("GIT_SSL_CAINFO", str(server.authority))
        yield made, server


def written(folder: Path) -> str:
    """Everything in the files below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return "".join(path.read_bytes().decode("latin-1") for path in files)


def test_the_token_reaches_no_log_no_host_and_no_file(private: Private) -> None:
    made, server = private
    url = server.url("plugins").replace("https://", f"https://ops:{TOKEN}@")
    sources = f'{{"plugin_sources": [{{"url": "{url}", "ref": "main"}}]}}'
    run = made.run("-e", sources, "-vvv")
    assert run.code == 0, run.text
    # Ansible itself shows what was given to it on the command line; nothing else may.
    assert TOKEN not in run.text.replace(sources, "")
    assert server.fetches("plugins") == 1
    assert TOKEN not in written(made.folder / "catalog")
    for host in made.fleet:
        assert TOKEN not in written(Path(str(host.root)) / made.folder.name)


def test_a_wrong_token_is_said_without_showing_it(private: Private) -> None:
    made, server = private
    url = server.url("plugins").replace("https://", "https://ops:wr0ng-t0ken@")
    run = made.run("-e", f'{{"plugin_sources": [{{"url": "{url}"}}]}}')
    assert run.code == 2
    assert "could not be fetched" in run.text
    assert "wr0ng" not in run.text
    assert "Traceback" not in run.text


def test_a_server_that_hangs_is_given_up(private: Private) -> None:
    made, _ = private
    made.server.freeze()
    try:
        run = made.run("-e", "plugin_source_timeout=2", timeout=30)
    finally:
        made.server.thaw()
    assert run.code == 2
    assert "no answer within 2 s" in run.text
    left = subprocess.run(["pgrep", "-f", f"git.*{made.folder}/catalog"], capture_output=True)
    assert left.stdout == b""
