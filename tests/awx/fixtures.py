"""A pytest plugin: the AWX that tests speak with, a stand-in unless a real one is named.

With `PLUGFLEET_AWX_URL` and `PLUGFLEET_AWX_TOKEN` (an administrator's) the same tests run against a real
AWX. One newer than 24.6.1 has no tokens: `PLUGFLEET_AWX_USERNAME` and `PLUGFLEET_AWX_PASSWORD` do instead, and what
needs a token (`awx_tokens`, and tests of the controller with `awx`) is left out. Those that need the stand-in's faults
(`awx.stand_in`) are marked `awx_stand_in` and then left out, and so are those whose jobs call the test's controller
(`awx_calls`) unless it is said where AWX finds it and this repository (`PLUGFLEET_AWX_CALLBACK`,
`PLUGFLEET_AWX_PROJECT`); which the run says. See docs/awx.md.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.awx import repository
from tests.awx.standin import StandIn
from tests.fleet import tls

_REAL = "PLUGFLEET_AWX_URL"
# What AWX must be told to reach this machine: the repository, the controller of a test.
_PROJECT, _CALLBACK = "PLUGFLEET_AWX_PROJECT", "PLUGFLEET_AWX_CALLBACK"
_PATIENCE = "PLUGFLEET_AWX_PATIENCE"
_TOKEN, _USERNAME, _PASSWORD = (f"PLUGFLEET_AWX_{n}" for n in ("TOKEN", "USERNAME", "PASSWORD"))
# What an organisation has and AWX leaves without one when it goes, what refers to others first.
_LEFT = ("workflow_job_templates", "job_templates", "inventories", "projects")
_ENDED = {"successful", "failed", "error", "canceled"}
_left_out = pytest.StashKey[dict[str, int]]()


@dataclass
class Awx:
    """An AWX and an administrator's token.

    Attributes:
        token: empty where AWX has none.
        login: the token, or user name and password, as the role's client takes them.
        stand_in: the stand-in; None where it is a real AWX.
        unique: part of the names of a test's objects, as a real AWX keeps those of others.
        patience: seconds that a job or an update may take; a real AWX starts a container for each.
    """

    url: str
    token: str
    client: httpx2.Client
    stand_in: StandIn | None
    unique: str
    login: dict[str, str] = field(default_factory=dict)
    patience: float = 60.0
    _users: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.login = self.login or {"token": self.token}

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
        until = time.monotonic() + self.patience
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

    def remove_organization(self, number: int) -> None:
        """Remove an organisation and all that it has, as soon as AWX lets it go."""
        for kind in _LEFT:
            for one in self.get(f"{kind}/?organization={number}&page_size=200")["results"]:
                self._remove(f"{kind}/{one['id']}/")
        self._remove(f"organizations/{number}/")

    def _remove(self, path: str) -> None:
        """Remove an object. AWX refuses while a job of it runs or its events are being written."""
        until = time.monotonic() + self.patience
        while (status := self.client.delete(path).status_code) != 404:
            assert status < 300 or status in (400, 403, 409), f"DELETE {path}: {status}"
            assert time.monotonic() < until, f"DELETE {path}: {status}"
            time.sleep(self.pause)

    def fire(self, schedule: int) -> int:
        """Let a schedule's time come; returns the id of its job."""
        if self.stand_in:
            return self.stand_in.awx.fire(schedule)
        # More than one time: AWX's clock may be ahead of this one.
        start = f"DTSTART:{datetime.now(UTC) + timedelta(seconds=10):%Y%m%dT%H%M%SZ}"
        rule = {"rrule": f"{start} RRULE:FREQ=MINUTELY;INTERVAL=1;COUNT=9", "enabled": True}
        path = f"schedules/{schedule}/"
        known = self.get(f"{path}jobs/")["count"]
        self.send("PATCH", path, 200, json=rule)
        self.wait(f"{path}jobs/", count=known + 1)
        self.send("PATCH", path, 200, json={"enabled": False})
        return int(self.get(f"{path}jobs/?order_by=-id")["results"][0]["id"])

    def limited_login(self, roles: dict[str, str]) -> dict[str, str]:
        """Settings of a controller that works as a new user with only these roles: `job_templates/7` -> `Execute`.

        The user goes with the test.
        """
        if "token" in self.login:
            return {"awx_user": "", "awx_token": self.limited_token(roles)}
        _, name, password = self._limited_user(roles)
        return {"awx_user": name, "awx_token": password}

    def limited_token(self, roles: dict[str, str]) -> str:
        """A token of a new user with only these roles; as `limited_login`."""
        user, name, password = self._limited_user(roles)
        made = httpx2.post(
            f"{self.url}/api/v2/users/{user}/personal_tokens/",
            json={"scope": "write"},
            auth=(name, password),
            timeout=30,
        )
        assert made.status_code == 201, made.text
        return str(made.json()["token"])

    def _limited_user(self, roles: dict[str, str]) -> tuple[int, str, str]:
        name, password = f"limited-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
        user = self.send("POST", "users/", 201, json={"username": name, "password": password})
        self._users.append(user["id"])
        for path, role in roles.items():
            has = self.get(f"{path}/object_roles/", params={"page_size": 200})["results"]
            number = next(one["id"] for one in has if one["name"] == role)
            self.send("POST", f"users/{user['id']}/roles/", 204, json={"id": number})
        return int(user["id"]), name, password

    def forget_users(self) -> None:
        """Remove the users that tokens were made for, and with each its tokens."""
        while self._users:
            self.send("DELETE", f"users/{self._users.pop()}/", 204)


@pytest.fixture
def awx() -> Iterator[Awx]:
    """An AWX; each test has a stand-in of its own."""
    with opened() as one:
        yield one


@contextmanager
def opened() -> Iterator[Awx]:
    """An AWX until the block ends: the real one that is named, or a new stand-in."""
    unique, url = uuid.uuid4().hex[:8], os.environ.get(_REAL)
    if url:
        token = os.environ.get(_TOKEN, "")
        login = {"token": token}
        if not token:
            login = {"username": os.environ[_USERNAME], "password": os.environ[_PASSWORD]}
        patience = float(os.environ.get(_PATIENCE, "600"))
        with _client(url, login) as client:
            real = Awx(url.rstrip("/"), token, client, None, unique, login, patience)
            try:
                yield real
            finally:
                real.forget_users()
        return
    stand_in = StandIn()
    try:
        with _client(stand_in.url, {"token": stand_in.token}) as client:
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
    """URL of a git repository of this project, as AWX reaches it; `#` and a branch may follow."""
    if os.environ.get(_REAL) and (named := os.environ.get(_PROJECT)):
        return named
    return repository.make(tmp_path_factory.mktemp("project"))


def callback() -> tuple[str, int]:
    """Address and port at which AWX's jobs reach a controller of this machine; 0 is any port."""
    address, _, port = os.environ.get(_CALLBACK, "127.0.0.1").partition(":")
    return address, int(port or 0)


def _client(url: str, login: dict[str, str]) -> httpx2.Client:
    base = f"{url.rstrip('/')}/api/v2/"
    if "token" in login:
        headers = {"Authorization": f"Bearer {login['token']}"}
        return httpx2.Client(base_url=base, headers=headers, timeout=60)
    return httpx2.Client(base_url=base, auth=(login["username"], login["password"]), timeout=60)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known."""
    config.addinivalue_line("markers", "awx_stand_in: needs what only the stand-in of AWX can do")
    config.addinivalue_line("markers", "awx_calls: jobs of AWX call a controller of this machine")
    config.addinivalue_line("markers", "awx_tokens: needs an AWX that has tokens")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a real AWX cannot be asked for."""
    if not os.environ.get(_REAL):
        return
    reasons = {"awx_stand_in": "need the stand-in of AWX"}
    if not (os.environ.get(_PROJECT) and os.environ.get(_CALLBACK)):
        reasons["awx_calls"] = f"need {_PROJECT} and {_CALLBACK}"
    if not os.environ.get(_TOKEN):
        reasons["awx_tokens"] = f"need {_TOKEN}"
        for item in items:
            # Most of the controller's tests give it the administrator's token.
            if "awx" in getattr(item, "fixturenames", ()) and "controller" in item.path.parts:
                item.add_marker("awx_tokens")
    counted: dict[str, int] = {}
    for mark, reason in reasons.items():
        left_out = [item for item in items if item.get_closest_marker(mark)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
        counted[reason] = len(left_out)
    config.stash[_left_out] = counted


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was left out."""
    for reason, number in config.stash.get(_left_out, {}).items():
        if number:
            terminalreporter.write_line(f"{number} tests {reason} and were left out")
