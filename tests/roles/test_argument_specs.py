"""The roles' argument specs, defaults and documentation say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
NAMES = sorted(path.parent.parent.name for path in ROLES.glob("*/meta/argument_specs.yml"))
# Whose variables stand elsewhere than in deploying.md.
PAGES = {"controller": "controller.md", "awx_setup": "awx.md"}


def options(role: str) -> dict[str, dict[str, Any]]:
    spec = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())
    found: dict[str, dict[str, Any]] = spec["argument_specs"]["main"]["options"]
    return found


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text())
    return found


def test_every_role_has_an_argument_spec() -> None:
    assert sorted(path.name for path in ROLES.iterdir() if path.is_dir()) == NAMES


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_is_specified_with_its_default(role: str) -> None:
    assert set(options(role)) == set(defaults(role))
    for name, value in defaults(role).items():
        templated = isinstance(value, str) and "{{" in value
        # Ansible templates a spec's defaults before the other roles' variables are there.
        assert options(role)[name].get("default") == (None if templated else value), name


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_begins_with_its_roles_name(role: str) -> None:
    assert all(name.startswith(f"{role}_") for name in options(role))


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_is_documented(role: str) -> None:
    page = (ROLES.parent / "docs" / PAGES.get(role, "deploying.md")).read_text()
    wrapped = {
        "plugin_source_sources": "plugin_sources",
        "plugin_source_bindings": "plugin_bindings",
    }
    assert [n for n in options(role) if f"`{wrapped.get(n, n)}`" not in page] == []
