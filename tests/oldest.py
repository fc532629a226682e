"""The programs of the oldest ansible-core that the playbooks run with, which `make test` installs."""

from __future__ import annotations

import sys
from pathlib import Path

OLDEST = Path(sys.prefix) / "oldest-ansible/bin"
