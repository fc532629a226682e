#!/usr/bin/env python3
"""Days until a TLS server's certificate expires, and whether clients can verify it.

Arguments: servers as host, host:port or [v6]:port (443 when no port is given), each with another
name to ask for and to verify where that is needed (www.example.org@10.0.0.5:443). ca=FILE adds a
PEM file of certificate authorities to the host's own. Only the server's own certificate is dated:
one of the chain that has expired shows as not verified.
"""

from __future__ import annotations

import calendar
import json
import os
import re
import socket
import ssl
import sys
import threading
import time
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

# The values of tls.error.
NO_ERROR, NAME_ERROR, CONNECT_ERROR, TIMEOUT, HANDSHAKE_ERROR = range(5)


class Target:
    """One server: where to connect, and the name that its certificate must bear."""

    __slots__ = ("host", "label", "name", "port")

    def __init__(self, text: str) -> None:
        match = re.match(
            r"(?:([^@\s/]+)@)?(?:\[([^][]+)\]|([^][:/@\s]+))(?::([0-9]{1,5}))?\Z", text
        )
        if match is None or not 0 < int(match.group(4) or 443) < 65536:
            fail(f"{text!r} is no TLS server: write host:port, [v6]:port or name@host:port")
        self.host: str = match.group(2) or match.group(3)
        self.port = int(match.group(4) or 443)
        self.name: str = match.group(1) or self.host
        self.label = text if match.group(4) else f"{text}:{self.port}"


class Seen:
    """What a connection showed; `expires` in epoch seconds."""

    __slots__ = ("error", "expires", "reason", "verify_code")

    def __init__(self, error: int, reason: str) -> None:
        self.error = error
        self.reason = reason
        self.expires: int | None = None
        self.verify_code = 0


def element(der: bytes, at: int) -> tuple[int, int, int]:
    """Return the kind, the content's start and its end of the DER element at `at`."""
    kind, length, start = der[at], der[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[at + 2 : start], "big")
    return kind, start, start + length


def not_after(der: bytes) -> int:
    """Return when an X.509 certificate expires (RFC 5280, 4.1), in epoch seconds.

    The ssl module decodes a certificate only when it could verify it; the date of one that it
    could not verify matters all the more.
    """
    at = element(der, element(der, 0)[1])[1]  # into Certificate, into TBSCertificate
    kind, _, end = element(der, at)
    if kind == 0xA0:  # the version, which may be left out
        at = end
    for _ in ("serialNumber", "signature", "issuer"):
        at = element(der, at)[2]
    validity = element(der, at)[1]
    kind, start, end = element(der, element(der, validity)[2])
    text = der[start:end].decode("ascii")
    if kind == 0x17:  # UTCTime: 50 to 99 are the years of the last century
        text = ("19" if text >= "50" else "20") + text
    return calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ"))


def certificate(target: Target, context: ssl.SSLContext, timeout: float) -> bytes:
    """Return the server's certificate as DER; raises OSError, with what is wrong."""
    plain = socket.create_connection((target.host, target.port), timeout)
    with plain, context.wrap_socket(plain, server_hostname=target.name) as secure:
        return secure.getpeercert(binary_form=True) or b""


def look(target: Target, strict: ssl.SSLContext, timeout: float) -> Seen:
    """Connect as a client would, and once more without verifying where that was refused."""
    seen = Seen(NO_ERROR, "")
    try:
        try:
            der = certificate(target, strict, timeout)
        except ssl.SSLCertVerificationError as error:
            seen.verify_code = error.verify_code
            seen.reason = f"not verified: {error.verify_message}"
            der = certificate(target, lenient_context(), timeout)
    except OSError as error:
        return failure(error)
    except UnicodeError as error:
        return Seen(NAME_ERROR, f"the name is none ({error})")
    try:
        seen.expires = not_after(der)
    except (IndexError, ValueError) as error:
        return Seen(HANDSHAKE_ERROR, f"the certificate cannot be read ({error})")
    return seen


def failure(error: OSError) -> Seen:
    """Return what stood between us and a certificate."""
    if isinstance(error, socket.gaierror):
        return Seen(NAME_ERROR, f"the name cannot be resolved ({error.strerror})")
    if isinstance(error, socket.timeout):
        return Seen(TIMEOUT, "no answer in time")
    if isinstance(error, ssl.SSLError):
        return Seen(HANDSHAKE_ERROR, f"no TLS handshake ({error.reason or error})")
    return Seen(CONNECT_ERROR, f"cannot connect ({error.strerror or error})")


def lenient_context() -> ssl.SSLContext:
    """Return a context that takes any certificate: to read its date, never to send anything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def rows_of(target: Target, seen: Seen) -> list[dict[str, object]]:
    """Return the metrics of one server."""
    up = int(seen.expires is not None)
    rows = [
        row("tls.up", up, server=target.label),
        row("tls.error", seen.error, server=target.label),
    ]
    if seen.expires is not None:
        left = round((seen.expires - time.time()) / 86400, 3)
        rows.append(row("tls.days.left", left, server=target.label))
        rows.append(row("tls.verified", int(seen.verify_code == 0), server=target.label))
        rows.append(row("tls.verify.code", seen.verify_code, server=target.label))
    return rows


def main() -> NoReturn:
    given = list(dict.fromkeys(arguments()))
    strict = ssl.create_default_context()
    for text in given:
        if text.startswith("ca="):
            try:
                strict.load_verify_locations(cafile=text[3:])
            except OSError as error:
                fail(f"cannot use the authorities in {text[3:]!r}: {error.strerror or error}")
    targets = [Target(text) for text in given if not text.startswith("ca=")]
    if not targets:
        fail("no server is given: bind it with servers, as 3600_tls_expiry.py(www.example.org:443)")
    limit = within(15.0)
    deadline = time.monotonic() + limit
    results: dict[str, Seen] = {}

    def work(target: Target) -> None:
        results[target.label] = look(target, strict, limit * 0.45)

    threads = {one: threading.Thread(target=work, args=(one,), daemon=True) for one in targets}
    for thread in threads.values():
        thread.start()
    rows = []
    for target, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        seen = results.get(target.label) or Seen(TIMEOUT, "no answer in time")
        if seen.reason and sys.stderr.isatty():
            print(f"{target.label}: {seen.reason}", file=sys.stderr)
        rows += rows_of(target, seen)
    push(rows)


if __name__ == "__main__":
    run(main)
