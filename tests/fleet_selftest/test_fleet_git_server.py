"""Git servers that count who came, and who was sent something."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fleet import FleetError, GitHttpServer, GitServer, NamespaceFleet
from tests.fleet.git_server import CountingServer

Git = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """Runs git with nothing of the user's configuration; never asks for a password."""

    def run(
        *words: str, cafile: Path | None = None, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "HOME": str(tmp_path), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        env["GIT_CONFIG_NOSYSTEM"] = "1"
        if cafile:
            env["GIT_SSL_CAINFO"] = str(cafile)
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", *identity, *words],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def work(tmp_path: Path, git: Git) -> Path:
    """A repository with one commit."""
    git("init", "-q", "-b", "main", "work")
    commit(git, "one")
    return tmp_path / "work"


def commit(git: Git, text: str) -> None:
    assert git("-C", "work", "commit", "-q", "--allow-empty", "-m", text).returncode == 0


def counts(server: CountingServer, repo: str = "plugins") -> tuple[int, int]:
    return server.fetches(repo), server.packs(repo)


@pytest.mark.parametrize("kind", [GitServer, GitHttpServer])
def test_visits_and_packs_are_counted_for_each_repository(
    kind: type[GitServer] | type[GitHttpServer], tmp_path: Path, git: Git, work: Path
) -> None:
    with kind({"plugins": work, "other": work}, tmp_path / "server") as server:
        cafile = server.authority if isinstance(server, GitHttpServer) else None
        assert (
            git("clone", "-q", "--bare", server.url("plugins"), "copy", cafile=cafile).returncode
            == 0
        )
        assert counts(server) == (1, 1)
        git("-C", "copy", "fetch", server.url("plugins"), cafile=cafile)
        assert counts(server) == (2, 1)  # came, and there was nothing new
        git("ls-remote", server.url("plugins"), cafile=cafile)
        assert counts(server) == (3, 1)
        commit(git, "two")
        git("-C", "copy", "fetch", server.url("plugins"), cafile=cafile)
        assert counts(server) == (4, 2)
        assert counts(server, "other") == (0, 0)


def test_forty_open_connections_cost_none_of_them_its_own(tmp_path: Path, work: Path) -> None:
    # One after another: git-daemon's listen(5) resets some of those that knock all at once.
    with GitServer({"plugins": work}, tmp_path / "server") as server, ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection((server.address, server.port), 10))
            for _ in range(40)
        ]
        argv = ["git", "clone", "-q", "--bare", server.url("plugins"), str(tmp_path / "copy")]
        assert subprocess.run(argv, timeout=60, check=False).returncode == 0
        assert counts(server) == (1, 1)
        for connection in idle:
            connection.settimeout(0)
            with pytest.raises(BlockingIOError):  # neither an answer nor an end
                connection.recv(1)


def test_only_the_right_password_gets_a_private_repository(
    tmp_path: Path, git: Git, work: Path
) -> None:
    users = {"deploy": "p@ss:word/1"}
    with GitHttpServer({"plugins": work}, tmp_path / "server", users=users) as server:
        ca = server.authority
        nobody = git("ls-remote", server.url("plugins"), cafile=ca)
        assert "could not read Username" in nobody.stderr
        wrong = git("ls-remote", server.url("plugins", user="deploy", password="no"), cafile=ca)
        assert "Authentication failed" in wrong.stderr
        assert (counts(server), server.refusals()) == ((0, 0), 1)
        right = git(
            "ls-remote",
            server.url("plugins", user="deploy", password="p%40ss%3Aword%2F1"),
            cafile=ca,
        )
        assert right.returncode == 0, right.stderr
        assert (counts(server), server.refusals()) == ((1, 0), 1)


def test_a_client_that_does_not_know_the_authority_refuses_the_server(
    tmp_path: Path, git: Git, work: Path
) -> None:
    with GitHttpServer({"plugins": work}, tmp_path / "server") as server:
        assert "certificate verification failed" in git("ls-remote", server.url("plugins")).stderr
        assert server.fetches("plugins") == 0


def test_plain_http_is_there_for_what_must_be_refused(tmp_path: Path, git: Git, work: Path) -> None:
    with GitHttpServer({"plugins": work}, tmp_path / "server", encrypted=False) as server:
        assert server.url("plugins").startswith("http://")
        assert git("ls-remote", server.url("plugins")).returncode == 0


@pytest.mark.parametrize("kind", [GitServer, GitHttpServer])
def test_a_frozen_server_keeps_its_clients_waiting(
    kind: type[GitServer] | type[GitHttpServer], tmp_path: Path, git: Git, work: Path
) -> None:
    with kind({"plugins": work}, tmp_path / "server") as server:
        cafile = server.authority if isinstance(server, GitHttpServer) else None
        server.freeze()
        with pytest.raises(subprocess.TimeoutExpired):
            git("ls-remote", server.url("plugins"), cafile=cafile, timeout=0.7)
        server.thaw()
        assert git("ls-remote", server.url("plugins"), cafile=cafile).returncode == 0


@pytest.mark.parametrize("kind", [GitServer, GitHttpServer])
def test_hosts_fetch_from_a_server_at_their_switch(
    kind: type[GitServer] | type[GitHttpServer],
    namespace_fleet: NamespaceFleet,
    tmp_path: Path,
    work: Path,
) -> None:
    with kind({"plugins": work}, tmp_path / "server", switch=namespace_fleet.switch) as server:
        host = namespace_fleet["n3"]
        if isinstance(server, GitHttpServer):
            (host.root / "tmp/ca.pem").write_bytes(server.authority.read_bytes())
        said = host.ssh(f"GIT_SSL_CAINFO=/tmp/ca.pem git ls-remote {server.url('plugins')} HEAD")
        assert said.stdout.endswith("\tHEAD\n"), said.stderr
        assert counts(server) == (1, 0)


@pytest.mark.parametrize(
    ("name", "path", "message"),
    [("a/b", ".", "a repository's name is"), ("a", "absent", "absent: is not a repository")],
)
def test_what_cannot_be_served_is_refused(
    tmp_path: Path, name: str, path: str, message: str
) -> None:
    with pytest.raises(FleetError, match=message):
        GitServer({name: tmp_path / path}, tmp_path / "server")


def test_counts_of_a_repository_that_is_not_served_are_refused(tmp_path: Path, work: Path) -> None:
    with (
        GitServer({"plugins": work}, tmp_path / "server") as server,
        pytest.raises(FleetError, match="typo: is not served here; plugins are"),
    ):
        server.fetches("typo")
