"""Settings of what carries out deployments: what is incomplete or would give a secret away is refused."""

from __future__ import annotations

import os
from typing import Any

import pytest
from pydantic import ValidationError

from controller.settings import Settings

AWX = {
    "execution": "awx",
    "awx_url": "https://awx.example.com",
    "awx_token": "t0ken",
    "awx_job_template": "7",
}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"execution": "awx"}, "needs awx_url, awx_token, awx_job_template too"),
        ({**AWX, "awx_token": ""}, "needs awx_token too"),
        ({"execution": "remote"}, "needs remote_host too"),
        ({"execution": "elsewhere"}, "'local', 'awx' or 'remote'"),
        ({**AWX, "awx_url": "http://awx.example.com"}, "must begin with https://"),
        ({**AWX, "awx_url": "awx.example.com"}, "write it as https://"),
        ({**AWX, "awx_url": "https://me:pw@awx.example.com"}, "holds more than an address"),
        ({**AWX, "awx_token": "two words"}, "is no token"),
        ({**AWX, "awx_user": "me:pw"}, "is no name of a user"),
        ({**AWX, "awx_user": "me", "awx_token": "pass\nword"}, "is no password"),
        ({"remote_host": "-oProxyCommand=x"}, "write it as user@host"),
        ({"remote_host": "host; rm"}, "write it as user@host"),
        ({"remote_ssh_args": "-i 'open"}, "No closing quotation"),
        ({"awx_slices": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_work_is_refused(
    given: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGFLEET_CONFIG", os.devnull)
    with pytest.raises(ValidationError) as raised:
        Settings(**given)
    assert said in "; ".join(str(error["msg"]) for error in raised.value.errors())


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://awx.example.com/", "https://awx.example.com"),
        ("https://awx.example.com/api/v2/", "https://awx.example.com"),
        ("http://127.0.0.1:8052", "http://127.0.0.1:8052"),
        ("https://aap.example.com/api/controller/v2/", "https://aap.example.com/api/controller"),
        ("https://aap.example.com/api/controller", "https://aap.example.com/api/controller"),
        ("https://[::1]:8043/awx", "https://[::1]:8043/awx"),
    ],
)
def test_an_address_is_taken_without_its_api(
    given: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGFLEET_CONFIG", os.devnull)
    settings = Settings(**{**AWX, "awx_url": given})
    assert settings.awx_url == url
    assert "t0ken" not in repr(settings)


def test_a_password_may_be_more_than_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUGFLEET_CONFIG", os.devnull)
    settings = Settings(**{**AWX, "awx_user": "plugfleet", "awx_token": "zwei Wörter"})
    assert settings.awx_token == "zwei Wörter"
