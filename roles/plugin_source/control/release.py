"""Taking a release that a controller published, as it is: nothing is fetched from sources or composed.

A control node that lacks it gets it from the controller in one request, as a git bundle on top of what
it has. Its content is proven by the commit, which came with the inventory.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.catalog import bundles, releases
from controller.catalog.errors import CatalogError, ReleaseError
from controller.catalog.publish import Catalog
from controller.catalog.releases import Release
from roles.plugin_source.control.asking import problem

_COMMIT = re.compile(r"[0-9a-f]{40}")


class ReleaseOptionError(Exception):
    """`plugin_source_release` or `plugin_source_controller` is not what it must be."""


class DownloadError(CatalogError):
    """The controller did not give the release."""


@dataclass(frozen=True)
class Wanted:
    """The release to take, by number and commit."""

    number: int
    commit: str


def parse_release(value: Any) -> Wanted:
    """Read `plugin_source_release`.

    Raises:
        ReleaseOptionError: it is not {number, commit}.
    """
    number = value.get("number") if isinstance(value, Mapping) else None
    commit = value.get("commit") if isinstance(value, Mapping) else None
    if isinstance(number, str) and number.isdigit():
        number = int(number)
    if not isinstance(number, int) or number < 1 or not _COMMIT.fullmatch(str(commit)):
        raise ReleaseOptionError(
            "plugin_source_release must be {number, commit} with a whole commit id, "
            f"as the controller's inventory has it; it is {value!r}"
        )
    return Wanted(number, str(commit))


def take(
    catalog: Catalog, wanted: Wanted, *, controller: str, token: str, timeout: float
) -> Release:
    """The wanted release, fetched from the controller if the deploy repository lacks it.

    Args:
        controller: where the controller answers, e.g. `https://plugfleet.example.com`.
        token: of scope viewer or more.
        timeout: seconds without an answer.

    Raises:
        CatalogError: it is not there and cannot be had, or is not what the inventory says.
    """
    repository = catalog.repository
    with catalog.locked():
        if not repository.has_commit(wanted.commit):
            if not controller:
                raise ReleaseError(
                    f"release {wanted.number} ({wanted.commit[:12]}) is not in {repository.path}, and "
                    "plugin_source_controller does not say where to get it"
                )
            with tempfile.TemporaryDirectory(prefix="plugfleet-bundle-") as folder:
                file = Path(folder, "release.bundle")
                have = bundles.newest_kept(repository)
                _download(controller, wanted.number, have, file, token, timeout)
                bundles.take(repository, wanted.number, wanted.commit, file)
        bundles.keep(repository, wanted.number, wanted.commit)
        found = releases.at(repository, wanted.commit)
    if found.number != wanted.number:
        raise ReleaseError(
            f"commit {wanted.commit[:12]} is release {found.number}, not {wanted.number}"
        )
    return found


def _download(
    controller: str, number: int, have: str, file: Path, token: str, timeout: float
) -> None:
    query = urllib.parse.urlencode({"have": have})
    url = f"{controller.rstrip('/')}/api/v1/releases/{number}/bundle?{query}"
    if not url.startswith(("https://", "http://")):
        raise ReleaseOptionError(
            f"plugin_source_controller must be an http:// or https:// URL, not {controller!r}"
        )
    if not token:
        raise DownloadError(
            f"release {number} is to be fetched from {controller}: set PLUGFLEET_TOKEN to a token of it"
        )
    request = urllib.request.Request(url)
    # Unlike an ordinary header, this one does not follow a redirect to somebody else.
    request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        answering = urllib.request.urlopen(request, timeout=timeout, context=_authorities())
        with answering as answer, file.open("wb") as stream:
            shutil.copyfileobj(answer, stream)
    except urllib.error.HTTPError as error:
        with error:
            detail, _ = problem(error)
        said = (
            f"{detail} ({error.code})"
            if detail
            else f"status {error.code}; is that a plugfleet controller?"
        )
        raise DownloadError(f"{controller} did not give release {number}: {said}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(f"{controller} does not answer: {reason}") from None


def _authorities() -> ssl.SSLContext:
    """The machine's authorities, and those that the inventory plugin is told of."""
    context = ssl.create_default_context()
    if further := os.environ.get("PLUGFLEET_CA_FILE"):
        context.load_verify_locations(further)
    return context
