"""The executor's command line; `argparse` is left out because the daemon would carry it for ever
(1.5 MB).
"""

from __future__ import annotations

import os
import sys

from executor import __version__, config
from executor.errors import ExecutorError
from executor.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from executor.config import Config

USAGE = """usage: executor.pyz --config FILE [--check | --supervise | --restart | --stop | --status]
       executor.pyz --version

  --config FILE  cfg.json; alone: run in the foreground until SIGTERM
  --check        say whether FILE is good, and stop
  --supervise    run in the background, restarted when it dies: for hosts without systemd
  --restart      --stop and --supervise in one
  --stop         end what --supervise started
  --status       say whether it runs (exit code 3 if not)
  --version      print the version
"""

_ACTIONS = (
    "--check",
    "--supervise",
    "--restart",
    "--stop",
    "--status",
    "--update",
    "--reset",
    "--plugin-status",
)


def main(arguments: list[str]) -> int:
    """Exit code: 0 good, 1 the configuration or the host is at fault, 2 wrong use, 3 not running (--status)."""
    if arguments == ["--version"]:
        print(f"plugfleet-executor {__version__}")
        return 0
    if arguments in (["--help"], ["-h"]):
        print(USAGE, end="")
        return 0
    try:
        action, path, log_path = _parsed(arguments)
    except ValueError as error:
        print(f"executor: {error}\n\n{USAGE}", end="", file=sys.stderr)
        return 2
    try:
        return _run(action, path, log_path)
    except ExecutorError as error:
        print(f"executor: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"executor: {where}{error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parsed(arguments: list[str]) -> tuple[str, str, str]:
    """(action or "", cfg.json, own log file or "")."""
    action = path = log_path = ""
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name in ("--config", "--log"):
            if not equals:
                if not rest:
                    raise ValueError(f"{name} needs a file")
                value = rest.pop(0)
            if name == "--config":
                path = value
            else:
                log_path = value
        elif word in _ACTIONS:
            if action:
                raise ValueError(f"{action} and {word} exclude each other")
            action = word
        else:
            raise ValueError(f"unknown argument {word!r}")
    if not path:
        raise ValueError("--config FILE is missing")
    return action, path, log_path


def _run(action: str, path: str, log_path: str) -> int:
    configuration = config.load(path)
    if action == "--check":
        print(f"{path}: good; this host is {configuration.hostname()}")
        return 0
    if action in ("--update", "--reset", "--plugin-status"):
        from executor import updatecommand

        return updatecommand.run(action, configuration)
    if action:
        from executor import supervise

        return supervise.run(action, configuration, _command("--config", configuration.path))
    return _serve(configuration, log_path)


def _serve(configuration: Config, log_path: str) -> int:
    from executor.daemon import Daemon

    _tidy_descriptors()
    log = Log(log_path, configuration["debug"])
    Daemon(configuration, log).run()
    return 0


def _command(*arguments: str) -> list[str]:
    """How to run this same program again, from whichever working directory."""
    python = sys.executable or "/proc/self/exe"
    program = os.path.abspath(sys.argv[0])
    if program.endswith(".pyz"):
        return [python, "-IS", program, *arguments]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    code = (
        f"import sys; sys.path.insert(0, {root!r}); "
        "from executor.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    return [python, "-c", code, *arguments]


def _tidy_descriptors() -> None:
    """Plugins inherit 0, 1 and 2 and nothing else: stdin is empty, the rest of what we were given
    stays with us.
    """
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            break
        os.set_inheritable(fd, True)
    os.dup2(fd, 0)
    os.close(fd)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                continue  # the descriptor of this very listing
