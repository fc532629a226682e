"""What every host of a test fleet can do, whatever it is made of."""

from __future__ import annotations

import re
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fleet import Fleet

Result = subprocess.CompletedProcess[str]


class Host(ABC):
    """One machine with an SSH server. `root` is where its files are seen from this machine."""

    user = "root"

    def __init__(self, fleet: Fleet[Any], name: str, address: str, port: int) -> None:
        self.fleet = fleet
        self.name = name
        self.address = address
        self.port = port
        self.folder = fleet.folder / "hosts" / name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.address}:{self.port}>"

    # Power: `launch` only begins; the fleet launches many and waits for all of them at once.

    @abstractmethod
    def launch(self) -> None:
        """Begins to start the host; its SSH server answers a little later."""

    @abstractmethod
    def kill(self) -> None:
        """Ends every process of the host at once, as a power cut does; its disk stays."""

    @abstractmethod
    def collect(self) -> None:
        """Waits for the host's first process, which was killed or is being killed."""

    @abstractmethod
    def died(self) -> str:
        """Why the host's first process ended, with its last output; "" while it runs."""

    def start(self) -> None:
        """Starts the host after `kill` and waits until it is up."""
        self.launch()
        self.fleet.wait_booted([self])

    # Reaching it

    def ssh(
        self,
        command: str,
        *,
        input: str | None = None,
        timeout: float = 30,
        user: str | None = None,
    ) -> Result:
        """Runs a shell command on the host over SSH, as a control node would.

        Returns the finished command, whatever its exit code (255: ssh itself failed). Raises
        subprocess.TimeoutExpired after `timeout` seconds.
        """
        login = ["-l", user] if user else []
        argv = ["ssh", "-F", str(self.fleet.ssh_config), *login, self.name, command]
        return self.fleet.run(argv, input=input, timeout=timeout)

    @abstractmethod
    def exec(self, command: str, *, timeout: float = 30) -> Result:
        """Runs a shell command on the host without SSH: works while the host is cut off."""

    @property
    @abstractmethod
    def root(self) -> Path:
        """The host's own root directory, readable from here while the host is up."""

    @property
    @abstractmethod
    def log(self) -> Path:
        """The SSH server's log (LogLevel VERBOSE)."""

    def logins(self) -> int:
        """How many SSH connections logged in so far."""
        return len(re.findall(r"^Accepted publickey for ", self._log_text(), re.MULTILINE))

    def sessions(self) -> int:
        """How many commands, shells and subsystems were started over SSH so far."""
        return len(re.findall(r"^Starting session: ", self._log_text(), re.MULTILINE))

    def _log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @abstractmethod
    def cpu_seconds(self) -> float:
        """User and system CPU seconds that the host has used since it was made."""

    # Faults

    @abstractmethod
    def cut(self) -> None:
        """Makes the host unreachable: packets to it vanish, nothing on it stops."""

    @abstractmethod
    def restore(self) -> None:
        """Undoes `cut`."""

    @abstractmethod
    def set_clock(self, seconds: float | None) -> None:
        """Moves the wall clock of every program started from now on; None makes it right again."""
