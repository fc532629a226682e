"""`--update`, `--reset` and `--plugin-status`: what the daemon starts as a process of its own, and
a person may too.

The answer's body goes to stdout, what is worth a log line to stderr. Exit code 0 if all went well,
else 1.
"""

from __future__ import annotations

import json
import sys

from executor.checkout import Checkout, write_note
from executor.errors import CheckoutError, failure_body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from executor.config import Config


def run(action: str, configuration: Config) -> int:
    """One action under the lock of `plugin.dir`; another one that is at it is waited for."""
    if action == "--plugin-status":
        return _status(configuration)
    name = action[2:]
    try:
        checkout = Checkout(configuration, _say)
        try:
            if name == "update":
                checkout.update()
            else:
                checkout.reset()
        finally:
            checkout.close()
    except (CheckoutError, OSError) as error:
        reason = _reason(error)
        write_note(configuration["executor.state"], reason)
        print(failure_body(name, configuration["plugin.dir"], reason))
        return 1
    write_note(configuration["executor.state"], "")
    print("success")
    return 0


def _status(configuration: Config) -> int:
    try:
        checkout = Checkout(configuration, _say)
        try:
            status = checkout.status()
        finally:
            checkout.close()
    except (CheckoutError, OSError) as error:
        print(json.dumps({"msg": _reason(error)}))
        return 1
    print(json.dumps({"msg": "success", "data": status}))
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return " ".join(str(error).split())
