"""Asking a controller from an Ansible run: with Ansible's own HTTP client and its plugins' options.

For plugins of Ansible that run on the control node from a checkout, AWX's project folder among them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import urllib.error

_MOST_PROBLEM = 65_536  # bytes


class NotReachable(Exception):
    """The controller gave no answer; the message says why."""


class NotTrusted(NotReachable):
    """Its certificate is none that is trusted."""


class Refused(Exception):
    """The controller answered, and not with what was asked for.

    Attributes:
        status: of HTTP.
        detail: what its problem says; empty where it answered something else.
        hint: what it says to do about it; may be empty.
    """

    def __init__(self, status: int, detail: str, hint: str) -> None:
        super().__init__(f"{status} {detail}".strip())
        self.status = status
        self.detail = detail
        self.hint = hint


@dataclass(frozen=True)
class Answer:
    """What the controller answered."""

    etag: str
    body: bytes


def ask(
    option: Callable[[str], Any],
    address: str,
    *,
    program: str,
    headers: Mapping[str, str],
    data: bytes | None = None,
    most: int | None = None,
) -> Answer:
    """Send a request to a controller: POST where there is `data`, else GET.

    Args:
        option: the plugin's `get_option`, for token, timeout, validate_certs and ca_path.
        program: how it names itself.
        headers: besides the token's.
        most: bytes of the body that are read; None is all.

    Raises:
        Refused: it answered with another status than 2xx; redirects are not followed.
        NotReachable: it did not answer.
    """
    # Every run of Ansible loads this module, and most ask nobody: these cost it 25 ms of CPU.
    import http.client
    import urllib.error

    from ansible.module_utils.urls import ConnectionError as UrlConnectionError
    from ansible.module_utils.urls import SSLValidationError, open_url

    try:
        with open_url(
            address,
            method="GET" if data is None else "POST",
            data=data,
            headers={"Authorization": f"Bearer {option('token')}", **headers},
            timeout=option("timeout"),
            validate_certs=option("validate_certs"),
            ca_path=option("ca_path"),
            follow_redirects="no",
            http_agent=program,
        ) as response:
            return Answer(response.headers.get("ETag", ""), response.read(most))
    except urllib.error.HTTPError as error:
        with error:
            raise Refused(error.code, *problem(error)) from None
    except SSLValidationError as error:
        raise NotTrusted(str(error)) from None
    except (UrlConnectionError, http.client.HTTPException, OSError) as error:
        raise NotReachable(str(getattr(error, "reason", None) or error)) from None


def problem(error: urllib.error.HTTPError) -> tuple[str, str]:
    """`detail` and `hint` of a controller's problem; both empty where somebody else answered."""
    try:
        said = json.loads(error.read(_MOST_PROBLEM))
        return str(said["detail"]), str(said.get("hint") or "")
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return "", ""
