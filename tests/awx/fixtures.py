"""A pytest plugin: the AWX that tests speak with, a stand-in unless a real one is named.

With `PLUGFLEET_AWX_URL` and `PLUGFLEET_AWX_TOKEN` (an administrator's) the same tests run against a real
AWX. Those that need the stand-in's faults (`awx.stand_in`) are marked `awx_stand_in` and then left out,
which the run says.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.awx import repository
from tests.awx.standin import StandIn
from tests.fleet import tls

_REAL = "PLUGFLEET_AWX_URL"
_PATIENCE = 600.0 if os.environ.get(_REAL) else 30.0
_ENDED = {"successful", "failed", "error", "canceled"}
_deselected = pytest.StashKey[int]()


@dataclass
class Awx:
    """An AWX and an administrator's token.

    Attributes:
        stand_in: the stand-in; None where it is a real AWX.
        unique: part of the names of a test's objects, as a real AWX keeps those of others.
    """

    url: str
    token: str
    client: httpx2.Client
    stand_in: StandIn | None
    unique: str
    _users: list[int] = field(default_factory=list)

    @property
    def pause(self) -> float:
        """Seconds between two looks."""
        return 0.01 if self.stand_in else 1.0

    def get(self, path: str, status: int = 200, **options: Any) -> Any:
        """The JSON of a GET below `/api/v2/`, which must be answered with `status`."""
        return self.send("GET", path, status, **options)

    def send(self, method: str, path: str, status: int, **options: Any) -> Any:
        """The JSON of a request, which must be answered with `status`; None where there is none."""
        response = self.client.request(method, path, **options)
        assert response.status_code == status, (
            f"{method} {path}: {response.status_code} {response.text}"
        )
        is_json = "json" in response.headers.get("Content-Type", "")
        return response.json() if response.content and is_json else response.text or None

    def wait(self, path: str, **wanted: Any) -> Any:
        """The object at `path` as soon as it has ended, or has the values wanted."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            found = self.get(path)
            if (
                all(found[k] == v for k, v in wanted.items())
                if wanted
                else found["status"] in _ENDED
            ):
                return found
            time.sleep(self.pause)
        raise AssertionError(f"{path} did not end: {found}")

    def limited_token(self, roles: dict[str, str]) -> str:
        """A token of a new user, who has only these roles: `job_templates/7` -> `Execute`.

        The user goes with the test.
        """
        name, password = f"limited-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
        user = self.send("POST", "users/", 201, json={"username": name, "password": password})
        self._users.append(user["id"])
        for path, role in roles.items():
            has = self.get(f"{path}/object_roles/", params={"page_size": 200})["results"]
            number = next(one["id"] for one in has if one["name"] == role)
            self.send("POST", f"users/{user['id']}/roles/", 204, json={"id": number})
        made = httpx2.post(
            f"{self.url}/api/v2/users/{user['id']}/personal_tokens/",
            json={"scope": "write"},
            auth=(name, password),
            timeout=30,
        )
        assert made.status_code == 201, made.text
        return str(made.json()["token"])

    def forget_users(self) -> None:
        """Remove the users that tokens were made for, and with each its tokens."""
        while self._users:
            self.send("DELETE", f"users/{self._users.pop()}/", 204)


@pytest.fixture
def awx() -> Iterator[Awx]:
    """An AWX; each test has a stand-in of its own."""
    unique, url = uuid.uuid4().hex[:8], os.environ.get(_REAL)
    if url:
        token = os.environ["PLUGFLEET_AWX_TOKEN"]
        with _client(url, token) as client:
            real = Awx(url.rstrip("/"), token, client, None, unique)
            yield real
            real.forget_users()
        return
    stand_in = StandIn()
    try:
        with _client(stand_in.url, stand_in.token) as client:
            awx = Awx(stand_in.url, stand_in.token, client, stand_in, unique)
            yield awx
            awx.forget_users()
    finally:
        stand_in.close()


@pytest.fixture
def awx_with_tls(tmp_path: Path) -> Iterator[tuple[StandIn, Path]]:
    """A stand-in that speaks TLS, and the file of the authority that vouches for it."""
    certificate = tls.make(tmp_path / "tls", ["127.0.0.1"], dict(os.environ))
    stand_in = StandIn(certificate)
    yield stand_in, certificate.authority
    stand_in.close()


@pytest.fixture(scope="session")
def project_repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a git repository of this project."""
    return repository.make(tmp_path_factory.mktemp("project"))


def _client(url: str, token: str) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.Client(base_url=f"{url.rstrip('/')}/api/v2/", headers=headers, timeout=60)


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "awx_stand_in: needs what only the stand-in of AWX can do")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a real AWX cannot be asked for."""
    if not os.environ.get(_REAL):
        return
    left_out = [item for item in items if item.get_closest_marker("awx_stand_in")]
    config.stash[_deselected] = len(left_out)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was left out."""
    if number := config.stash.get(_deselected, 0):
        terminalreporter.write_line(f"{number} tests need the stand-in of AWX and were left out")
