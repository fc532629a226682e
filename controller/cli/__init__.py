"""The `plugfleet` command: one module a noun, all of them speaking REST to a controller.

Heavy imports stand inside the functions that need them: `plugfleet --help`, and the shell's
completion, which starts it for every press of the tab key, must come at once.
"""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Entry point of the `plugfleet` command."""
    from controller.cli import output
    from controller.cli.commands import app
    from controller.cli.exits import CommandError

    for stream in (sys.stdout, sys.stderr):
        # Paths hold anything; a terminal that cannot show it must not end the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="plugfleet")
    except CommandError as error:
        output.complain(error)
        sys.exit(error.exit_code)
