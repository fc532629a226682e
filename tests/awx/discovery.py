"""Which files of a project AWX offers: as playbooks, and as inventories.

Rules: awx/main/utils/ansible.py, and the walks of awx/main/models/projects.py. Full names count since
AWX 21 (its pull request 12102).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePath

_PLAYBOOK_LINE = re.compile(
    r"^\s*?-?\s*?(?:hosts|(?:ansible\.builtin\.)?(?:include|import_playbook)):"
)
_INVENTORY_LINE = re.compile(r"^[a-zA-Z0-9_.=\[\]]")
_MOST = 51
_PASSED_OVER = {"roles", "tasks", "group_vars", "host_vars"}


def playbooks(project: Path, *, links: bool = False) -> list[str]:
    """What AWX lists to choose a job template's playbook from.

    Args:
        links: linked folders are looked into; off as `AWX_SHOW_PLAYBOOK_LINKS` is.
    """
    return sorted(name for name in _files(project, links) if _is_playbook(project / name))


def inventories(project: Path) -> list[str]:
    """What AWX lists to choose an inventory source's file from: of more than `_MOST`, whichever come first."""
    found = (name for name in _files(project, links=False) if _is_inventory(project / name))
    return sorted(islice(found, _MOST))


def _files(project: Path, links: bool) -> Iterator[str]:
    for folder, _, names in os.walk(project, followlinks=links):
        within = PurePath(os.path.relpath(folder, project))
        if _PASSED_OVER.intersection(within.parts):
            continue
        if any(part.startswith(".") for part in within.parts):
            continue
        yield from (str(within / name) for name in names)


def _is_playbook(file: Path) -> bool:
    if file.suffix not in (".yml", ".yaml"):
        return False
    lines = file.read_text("utf-8", "ignore").splitlines()
    vaulted = bool(lines) and lines[0].startswith("$ANSIBLE_VAULT;")
    return vaulted or any(_PLAYBOOK_LINE.match(line) for line in lines)


def _is_inventory(file: Path) -> bool:
    if file.name in ("inventory", "hosts") or file.suffix == ".ini" or os.access(file, os.X_OK):
        return True
    if file.suffix:
        return False
    with file.open(encoding="utf-8", errors="ignore") as stream:
        return all(_INVENTORY_LINE.match(line) for line in islice(stream, 10))
