"""`playbooks/awx-setup.yml`, run against an AWX."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.awx.fixtures import Awx

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
# What the stand-in is to offer where its project is a simulated one.
PLAYBOOKS = ["deploy-plugins.yml", *(f"playbooks/{n}.yml" for n in ("verify", "rollback", "lint"))]


@lru_cache(maxsize=1)
def private_key() -> str:
    """A private key, which AWX takes only in earnest."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "key")
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(file)]
        subprocess.run(argv, check=True, capture_output=True)
        return file.read_text()


class SetUp:
    """One file of variables, and the command that reads it."""

    def __init__(self, awx: Awx, folder: Path, **variables: Any) -> None:
        self._file = folder / "awx-setup.yml"
        self.prefix = f"pf {awx.unique}"
        self.variables: dict[str, Any] = {
            "awx_setup_url": awx.url,
            **{f"awx_setup_{name}": value for name, value in awx.login.items()},
            "awx_setup_organization": self.prefix,
            "awx_setup_prefix": self.prefix,
            "awx_setup_project_url": "https://git.example.com/plugfleet.git",
            **variables,
        }

    def run(self, *args: str, code: int = 0) -> str:
        """What the playbook prints; its exit status must be `code`."""
        self._file.write_text(json.dumps(self.variables))
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWX_", "ANSIBLE_"))}
        playbook = str(CHECKOUT / "playbooks/awx-setup.yml")
        done = subprocess.run(
            [BIN / "ansible-playbook", "-i", "localhost,", playbook, "-e", f"@{self._file}", *args],
            cwd=CHECKOUT,
            env=inherited | {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def changes(self, *args: str) -> int:
        """How many objects a run changed."""
        return len(re.findall(r"^changed:", self.run(*args), re.MULTILINE))
