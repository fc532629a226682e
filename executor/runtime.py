"""What every plugin run needs, in one place."""

from __future__ import annotations

import os

from executor.capture import Budget
from executor.leftovers import EXECUTOR_MARK, PLUGIN_MARK, Sweeper
from executor.turns import Turns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from executor.config import Config
    from executor.intake import Intake
    from executor.log import Log
    from executor.loop import Loop
    from executor.process import Children

ENDING_POLL = 0.1
"""Seconds between two looks whether the last run of a plugin of before is over."""


class Runtime:
    """Shared by all plugins; `configure` takes over a new configuration between two runs.

    copying     turns for the work on working copies, which is the disk's
    installing  turns for postExtracts, each of which may take all of the unit's memory
    """

    __slots__ = (
        "_stdin",
        "children",
        "config",
        "copying",
        "ending",
        "env",
        "first_run_within",
        "installing",
        "intake",
        "log",
        "logs",
        "loop",
        "plugin_dir",
        "state_dir",
        "stdout",
        "sweeper",
    )

    def __init__(
        self, loop: Loop, children: Children, log: Log, intake: Intake, config: Config
    ) -> None:
        self.loop = loop
        self.children = children
        self.log = log
        self.intake = intake
        self.stdout = Budget()
        self.sweeper = Sweeper(loop, log)
        self.copying = Turns(loop)
        self.installing = Turns(loop)
        self._stdin: tuple[int, int] | None = None
        # Keys of plugins that were stopped and whose last run is not over yet: no second one
        # beside it.
        self.ending: set[str] = set()
        self.configure(config)

    def configure(self, config: Config) -> None:
        self.config = config
        self.plugin_dir: str = config["plugin.dir"]
        self.logs: str = config["plugin.logs"]
        self.state_dir: str = config["executor.state"]
        self.first_run_within: float = config["executor.first_run_within"]
        self.env = dict(os.environ)
        # So that a plugin that prints an endpoint of its own says the same as the executor.
        self.env["FALCON_ENDPOINT"] = config.hostname()
        self.env["PYTHONUNBUFFERED"] = "1"
        # A release is read-only, and __pycache__ in one would count as tampering where it is not
        # (root).
        self.env["PYTHONDONTWRITEBYTECODE"] = "1"
        self.env[EXECUTOR_MARK] = f"{os.getsid(0)}:{self.state_dir}"
        # One that is there belongs to the plugin that started this executor.
        self.env.pop(PLUGIN_MARK, None)

    def open_stdin(self) -> int:
        """A pipe's end to read from, for programs that stay: nothing comes, and it ends with the
        executor. OSError when too many files are open.

        Those that read stdin end at its end: Telegraf's Go shim, many node programs.
        """
        if self._stdin is None:
            self._stdin = os.pipe2(os.O_CLOEXEC)
        return self._stdin[0]
