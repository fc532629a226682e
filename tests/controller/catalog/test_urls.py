"""Which source URLs are taken, and that none can run a command or leak its credentials."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.catalog.errors import SourceError
from controller.catalog.urls import check_ref, parse_source_url, redact


@pytest.mark.parametrize(
    "url",
    [
        "git://git.example.com/plugins.git",
        "https://git.example.com/plugins.git",
        "https://git.example.com:8443/ops/plugins.git",
        "http://git.example.com/plugins.git",
        "ssh://git@git.example.com:2222/ops/plugins.git",
        "git@git.example.com:ops/plugins.git",
        "git.example.com:plugins.git",
        "file:///srv/git/plugins.git",
        "/srv/git/plugins.git",
    ],
)
def test_ordinary_urls_are_taken_as_they_are(url: str) -> None:
    assert parse_source_url(url, base=Path("/")).clean == url


def test_a_relative_path_is_resolved_against_the_playbooks_folder() -> None:
    assert parse_source_url("../plugins", base=Path("/srv/play")).clean == "/srv/plugins"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ext::sh -c 'touch /tmp/owned'", "remote helper"),
        ("fd::17/foo", "remote helper"),
        ("transport::https://example.com", "remote helper"),
        ("--upload-pack=touch /tmp/owned", "dash"),
        ("-oProxyCommand=touch", "dash"),
        ("ssh://-oProxyCommand=touch/x", "host name"),
        ("git@-oProxyCommand=touch:x", "neither a URL"),
        ("ssh://-x@host/y", "dash"),
        ("ftp://example.com/x.git", "scheme"),
        ("https://", "host name"),
        ("https://example.com:port/x", "not a valid URL"),
        ("git://user:secret@example.com/x", "unencrypted"),
        ("http://user:secret@example.com/x", "unencrypted"),
        ("ssh://git:secret@example.com/x", "keys only"),
        ("https://example.com/x\n--upload-pack=y", "control characters"),
        ("", "empty"),
        ("   ", "empty"),
        ("~nobody-of-that-name/x", "no usable path"),
    ],
)
def test_urls_that_could_run_or_leak_something_are_refused(url: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as refused:
        parse_source_url(url, base=Path("/"))
    assert "secret" not in str(refused.value)


def test_credentials_are_split_off_and_never_shown() -> None:
    source = parse_source_url("https://ops:s3%40cret@git.example.com/x.git", base=Path("/"))
    assert source.clean == "https://git.example.com/x.git"
    assert (source.username, source.password) == ("ops", "s3@cret")
    assert "s3" not in repr(source)


def test_redact_hides_every_credential_of_a_text() -> None:
    text = "fatal: https://u:p@h/x and https://tok@en@h/y failed"
    assert redact(text) == "fatal: https://***@h/x and https://***@h/y failed"


@given(st.text())
def test_no_text_gets_a_dash_or_a_helper_through(text: str) -> None:
    try:
        clean = parse_source_url(text, base=Path("/srv")).clean
    except SourceError:
        return
    assert not clean.startswith("-")
    assert "::" not in clean.split("/")[0]


@pytest.mark.parametrize("ref", ["main", "v1.2", "feature/x-1", "release@2", "a" * 40])
def test_plain_refs_are_taken(ref: str) -> None:
    assert check_ref(ref) == ref


@pytest.mark.parametrize(
    "ref", ["-x", "--upload-pack=x", "a..b", "HEAD@{1}", "a b", "a:b", "+a", "a.lock", "a\n", ""]
)
def test_refs_that_are_expressions_or_options_are_refused(ref: str) -> None:
    with pytest.raises(SourceError):
        check_ref(ref)
