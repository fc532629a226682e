"""A role's own defaults, which are templates."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any


def read_defaults(loader: Any, path: Path) -> dict[str, Any]:
    """The variables of a role's defaults/main.yml.

    Args:
        loader: Ansible's DataLoader.
    """
    # ansible-core 2.19 evaluates only those templates that are marked; before, it did all of them.
    marks = "trusted_as_template" in inspect.signature(loader.load_from_file).parameters
    found: dict[str, Any] = loader.load_from_file(
        str(path), **({"trusted_as_template": True} if marks else {})
    )
    return found
