#!/usr/bin/env python3
"""Whether web addresses answer as they should: status, time, size and an expected text.

Arguments: URLs, each followed by what is asked of it: text=TEXT must be in the answer (%2C for a
comma, %20 for a space), status=CODE instead of any 2xx, name=NAME as the metrics' tag instead
of the URL, verify=no to take any certificate. Redirects are followed unless one is asked for with
status=3xx, proxies are not used, and no more than the first MiB of an answer is read.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import urllib.response
import zlib

# --- what every Python script of this tree agrees with the agent on (plugins/README.md) ---
TYPE_CHECKING = False  # typing itself would cost milliseconds on every run
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def fail(reason: str) -> NoReturn:
    """Leave with one line of reason on stderr, no data and exit code 1."""
    line = f"{os.path.basename(sys.argv[0])}: {' '.join(reason.split())}\n"
    os.write(2, line.encode("utf-8", "backslashreplace"))
    os._exit(1)  # a thread that is stuck in a name look-up must not hold the exit up


def step_of(path: str) -> int:
    """Return the step in seconds that a script's file name begins with, as the agent reads it."""
    head = os.path.basename(path).split("_", 1)[0]
    head = head[1:] if head.startswith("+") else head
    if not (head.isascii() and head.isdigit() and int(head) > 0):
        fail("the file name must begin with its step in seconds and a _, as in 60_name.py")
    return int(head)


STEP = step_of(sys.argv[0])
ENDPOINT = os.environ.get("FALCON_ENDPOINT") or os.uname().nodename


def arguments() -> list[str]:
    """Return the binding's arguments; an agent passes one empty argument when there are none."""
    given = [text.strip() for text in sys.argv[1:] if text.strip()]
    if given[:1] == ["--help"]:
        print(__doc__)
        sys.exit(0)
    return given


def within(limit: float) -> float:
    """Return the seconds to work in: `limit`, or less where the step's timeout comes sooner."""
    return min(limit, max(0.2, (STEP - 0.5) * 0.6))


def tag(text: str) -> str:
    """Return `text` as a tag's value: none of Falcon's own signs, 160 bytes at most."""
    kept = (c if c.isprintable() and c not in ',= "\\' else "_" for c in text)
    clean = "".join(kept).encode("utf-8")
    if len(clean) > 160:
        return f"{clean[:150].decode('utf-8', 'ignore')}-{zlib.crc32(clean):08x}"
    return clean.decode("utf-8") or "_"


def row(metric: str, value: float, kind: str = "GAUGE", **tags: str) -> dict[str, object]:
    """Return one metric; `kind` is GAUGE, or COUNTER for a number that only grows."""
    return {
        "endpoint": ENDPOINT,
        "metric": metric,
        "value": value,
        "step": STEP,
        "counterType": kind,
        "tags": ",".join(f"{name}={tag(text)}" for name, text in tags.items()),
        "timestamp": int(time.time()),
    }


def push(rows: list[dict[str, object]]) -> NoReturn:
    """Print all metrics as one JSON list and leave; stdout carries nothing else."""
    if not rows:
        fail("nothing was measured")
    data = json.dumps(rows, allow_nan=False).encode("ascii") + b"\n"
    while data:
        data = data[os.write(1, data) :]
    os._exit(0)


def run(main: Callable[[], NoReturn]) -> NoReturn:
    """Run `main`; what nobody foresaw becomes one line of reason too."""
    try:
        main()
    except Exception as error:
        fail(f"unexpected {type(error).__name__}: {error}")


# --- end of the agreement ---

# The values of http.error.
NO_ERROR, NAME_ERROR, CONNECT_ERROR, TIMEOUT, TLS_ERROR, BAD_ANSWER, WRONG_STATUS, NO_TEXT = range(
    8
)
MOST_BYTES = 1024 * 1024


class Check:
    """One URL and what is asked of it."""

    __slots__ = ("login", "name", "status", "text", "url", "verify")

    def __init__(self, url: str) -> None:
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            fail(f"{url!r} is no URL: {error}")
        if not host or not url.isascii() or not url.isprintable() or " " in url:
            fail(f"{url!r} is no URL: write http://host/path, and %XX for what is not plain ASCII")
        self.login = ""
        if parts.username is not None:
            # Out of the URL: it becomes a tag, and a tag is no place for a password.
            user = urllib.parse.unquote(parts.username)
            self.login = f"{user}:{urllib.parse.unquote(parts.password or '')}"
            host = f"[{host}]" if ":" in host else host
            parts = parts._replace(netloc=f"{host}:{port}" if port else host)
        self.url = urllib.parse.urlunsplit(parts._replace(scheme=parts.scheme.lower(), fragment=""))
        self.name = self.url
        self.status = 0
        self.text = ""
        self.verify = True

    def ask(self, option: str) -> None:
        """Take one option; fails on one that is unknown."""
        key, _, value = option.partition("=")
        if key == "text" and value:
            self.text = urllib.parse.unquote(value)
        elif key == "name" and value:
            self.name = urllib.parse.unquote(value)
        elif key == "status" and len(value) == 3 and value.isascii() and value.isdigit():
            self.status = int(value)
        elif option == "verify=no":
            self.verify = False
        else:
            fail(f"{option!r} is neither a URL nor text=, status=CODE, name= or verify=no")


class Result:
    """What came of a check; `latency` in seconds, None when there was no whole answer."""

    __slots__ = ("error", "latency", "reason", "size", "status")

    def __init__(self, error: int, reason: str) -> None:
        self.error = error
        self.reason = reason
        self.latency: float | None = None
        self.status = 0
        self.size = 0


def parse(given: list[str]) -> list[Check]:
    """Return the checks that the arguments describe."""
    checks: list[Check] = []
    for text in given:
        if text.lower().startswith(("http://", "https://")):
            checks.append(Check(text))
        elif checks:
            checks[-1].ask(text)
        else:
            fail(f"{text!r} comes before any URL: begin with http:// or https://")
    if not checks:
        fail("no URL is given: bind it with some, as 60_http_check.py(http://localhost/,text=ok)")
    names = [tag(check.name) for check in checks]
    for name in names:
        if names.count(name) > 1:
            fail(f"two checks would be told apart by nothing ({name}): give one a name=")
    return checks


def read_body(answer: urllib.response.addinfourl) -> bytes:
    """Return the body's first MiB; raises IncompleteRead where the server broke off earlier."""
    body = b""
    while len(body) < MOST_BYTES:
        chunk = answer.read(min(65536, MOST_BYTES - len(body)))
        if not chunk:
            break
        body += chunk
    # Read in parts, http.client takes a broken connection for the end.
    declared = answer.headers.get("Content-Length", "")
    has_body = answer.getcode() not in (204, 304) and "Transfer-Encoding" not in answer.headers
    if has_body and declared.isdigit() and len(body) < min(int(declared), MOST_BYTES):
        raise http.client.IncompleteRead(body, int(declared) - len(body))
    return body


def contexts(checks: list[Check]) -> dict[bool, ssl.SSLContext]:
    """Return what the checks need for TLS, by whether they verify.

    Reading the host's certificate authorities costs more than all the rest, so it is done once,
    and not at all for plain http: (a redirect to https: then makes a context that verifies).
    """
    found = {}
    secure = [check for check in checks if not check.verify or check.url.startswith("https:")]
    for verify in {check.verify for check in secure}:
        found[verify] = ssl.create_default_context()
        if not verify:
            found[verify].check_hostname = False
            found[verify].verify_mode = ssl.CERT_NONE
    return found


def fetch(check: Check, context: ssl.SSLContext | None, timeout: float) -> Result:
    """Get the URL; raises OSError or HTTPException when there is no whole answer."""
    # Built by hand: the ready-made one uses the proxies of the environment and opens file: URLs.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    if check.status // 100 != 3:
        opener.add_handler(urllib.request.HTTPRedirectHandler())
    request = urllib.request.Request(check.url, headers={"User-Agent": "plugfleet-http-check"})
    if check.login:
        word = base64.b64encode(check.login.encode()).decode("ascii")
        # Not for whom the server redirects us to.
        request.add_unredirected_header("Authorization", "Basic " + word)
    started = time.monotonic()
    try:
        answer = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        body = read_body(answer)
        result = Result(NO_ERROR, "")
        result.latency = time.monotonic() - started
        result.status = answer.getcode() or 0
    result.size = len(body)
    if result.status != check.status if check.status else result.status // 100 != 2:
        result.error, result.reason = WRONG_STATUS, f"status {result.status}"
    elif check.text.encode() not in body:
        result.error, result.reason = NO_TEXT, f"the answer does not hold {check.text!r}"
    return result


def attempt(check: Check, context: ssl.SSLContext | None, timeout: float) -> Result:
    """Do one check, with the reason where it failed."""
    try:
        return fetch(check, context, timeout)
    except urllib.error.URLError as error:
        cause = error.reason if isinstance(error.reason, Exception) else error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = error
    if isinstance(cause, socket.gaierror):
        return Result(NAME_ERROR, f"the name cannot be resolved ({cause.strerror})")
    if isinstance(cause, socket.timeout):
        return Result(TIMEOUT, "no answer in time")
    if isinstance(cause, ssl.SSLError):
        return Result(TLS_ERROR, f"TLS: {getattr(cause, 'verify_message', '') or cause.reason}")
    if isinstance(cause, OSError) and not isinstance(cause, urllib.error.URLError):
        return Result(CONNECT_ERROR, f"cannot connect ({cause.strerror or cause})")
    return Result(BAD_ANSWER, f"no HTTP answer ({type(cause).__name__}: {cause})")


def rows_of(check: Check, result: Result) -> list[dict[str, object]]:
    """Return the metrics of one check."""
    rows = [
        row("http.up", int(result.error == NO_ERROR), url=check.name),
        row("http.error", result.error, url=check.name),
    ]
    if result.latency is not None:
        rows.append(row("http.status", result.status, url=check.name))
        rows.append(row("http.latency.ms", round(result.latency * 1000, 3), url=check.name))
        rows.append(row("http.size.bytes", result.size, url=check.name))
    return rows


def main() -> NoReturn:
    checks = parse(arguments())
    limit = within(15.0)
    deadline = time.monotonic() + limit
    results: dict[str, Result] = {}
    known = contexts(checks)

    def work(check: Check) -> None:
        results[check.name] = attempt(check, known.get(check.verify), limit * 0.9)

    threads = {one: threading.Thread(target=work, args=(one,), daemon=True) for one in checks}
    for thread in threads.values():
        thread.start()
    rows = []
    for check, thread in threads.items():
        # The socket's timeout starts again with every byte; this one does not.
        thread.join(max(0.0, deadline - time.monotonic()))
        result = results.get(check.name) or Result(TIMEOUT, "no whole answer in time")
        if result.reason and sys.stderr.isatty():
            print(f"{check.name}: {result.reason}", file=sys.stderr)
        rows += rows_of(check, result)
    push(rows)


if __name__ == "__main__":
    run(main)
