"""What AWX makes of this repository: playbooks, inventories, requirements, surveys, execution environment."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.awx import discovery, repository
from tests.awx.launching import check_survey

CHECKOUT = repository.CHECKOUT
BIN = Path(sys.executable).parent
OURS = {"agentplugin", "controller", "executor", "roles"}
PLAYBOOKS = sorted((CHECKOUT / "playbooks").glob("*.yml"))
SURVEYS = CHECKOUT / "roles/awx_setup/files/surveys"
# ansible-core needs these itself, so that they are wherever it is.
ANSIBLES_OWN = {"ansible", "jinja2", "yaml", "cryptography", "packaging"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files, as a checkout has them."""
    folder = tmp_path_factory.mktemp("checkout")
    repository.copy(folder)
    return folder


@pytest.mark.parametrize("links", [False, True], ids=["links passed over", "links followed"])
def test_awx_offers_the_useful_playbooks_and_nothing_else(project: Path, links: bool) -> None:
    assert discovery.playbooks(project, links=links) == [
        "deploy-plugins.yml",
        "playbooks/awx-setup.yml",
        "playbooks/deploy-plugins.yml",
        "playbooks/install-controller.yml",
        "playbooks/install-executor.yml",
        "playbooks/lint.yml",
        "playbooks/rollback.yml",
        "playbooks/verify.yml",
    ]


def test_awx_offers_the_static_inventory_and_takes_the_controllers(project: Path) -> None:
    assert "inventory/hosts.ini" in discovery.inventories(project)
    told = yaml.safe_load((project / "inventory/controller.plugfleet.yml").read_text())
    assert told == {"plugin": "plugfleet"}


@pytest.mark.parametrize("kind", ["collections", "roles"])
def test_an_update_of_the_project_downloads_nothing(kind: str) -> None:
    found = yaml.safe_load((CHECKOUT / kind / "requirements.yml").read_text())
    assert found == {kind: []}


def tasks_of(play: dict[str, Any]) -> Iterator[dict[str, Any]]:
    pending = list(play.get("tasks", []))
    while pending:
        task = pending.pop(0)
        pending = [*task.get("block", []), *task.get("always", []), *pending]
        yield task


def plays(playbook: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(playbook.read_text())
    return found


def arguments(playbook: Path) -> dict[str, Any]:
    """The options that a playbook takes, those of what it imports too."""
    options: dict[str, Any] = {}
    for play in plays(playbook):
        if imported := play.get("ansible.builtin.import_playbook"):
            options |= arguments(playbook.parent / imported)
        for task in tasks_of(play):
            options |= task.get("ansible.builtin.validate_argument_spec", {}).get(
                "argument_spec", {}
            )
            if role := task.get("ansible.builtin.import_role"):
                spec = CHECKOUT / "roles" / role["name"] / "meta/argument_specs.yml"
                options |= yaml.safe_load(spec.read_text())["argument_specs"]["main"]["options"]
    return options


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda playbook: playbook.stem)
def test_every_playbook_names_its_arguments_and_gives_a_summary(playbook: Path) -> None:
    last = plays(playbook)[-1]
    if imported := last.get("ansible.builtin.import_playbook"):
        last = plays(playbook.parent / imported)[-1]
    named = [task for task in tasks_of(last) if "ansible.builtin.set_stats" in task]
    assert len(named) == 1
    assert named[0].get("run_once") or last["hosts"] == "localhost", "a process for every host"
    assert arguments(playbook)
    for options in arguments(playbook).values():
        assert options["type"] and options["description"]


@pytest.mark.parametrize("name", ["deploy", "verify", "rollback"])
def test_a_survey_asks_for_what_its_playbook_takes(name: str) -> None:
    survey = check_survey(json.loads((SURVEYS / f"{name}.json").read_text()))
    playbook = "deploy-plugins" if name == "deploy" else name
    options = arguments(CHECKOUT / f"playbooks/{playbook}.yml")
    kinds = {"raw": "text", "int": "integer", "bool": "multiplechoice"}
    for question in survey["spec"]:
        assert question["type"] == kinds[options[question["variable"]]["type"]]


def test_the_example_of_variables_is_one_that_the_role_takes() -> None:
    example = yaml.safe_load((CHECKOUT / "docs/awx-setup.example.yml").read_text())
    spec = yaml.safe_load((CHECKOUT / "roles/awx_setup/meta/argument_specs.yml").read_text())
    options = spec["argument_specs"]["main"]["options"]
    assert set(example) <= set(options)
    for name in ("awx_setup_schedules", "awx_setup_notifications", "awx_setup_login"):
        given = example[name] if isinstance(example[name], list) else [example[name]]
        assert all(set(one) <= set(options[name]["options"]) for one in given)


def test_ansible_builder_makes_an_image_of_the_execution_environment(tmp_path: Path) -> None:
    argv = [BIN / "ansible-builder", "create", "-f", CHECKOUT / "execution-environment.yml"]
    argv += ["-c", tmp_path, "--output-filename", "Containerfile"]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    recipe = (tmp_path / "Containerfile").read_text()
    assert "fedora:42" in recipe and "ansible-core>=2.19" in recipe
    assert "openssh-clients" in (tmp_path / "_build/bindep.txt").read_text()


def test_the_execution_environment_has_what_actions_and_plugins_import() -> None:
    built = yaml.safe_load((CHECKOUT / "execution-environment.yml").read_text())
    installed = {text.split(">")[0].lower() for text in built["dependencies"]["python"]}
    begin = [
        *CHECKOUT.glob("roles/*/action_plugins/*.py"),
        *CHECKOUT.glob("*_plugins/*.py"),
    ]
    needed = imported(begin) - set(sys.stdlib_module_names) - OURS - ANSIBLES_OWN
    assert needed == installed


def imported(begin: list[Path]) -> set[str]:
    """Top-level packages that files import, at any place in them, and the files of ours that they import."""
    pending, seen, packages = list(begin), set(), set()
    while pending:
        file = pending.pop()
        if file in seen or not file.exists():
            continue
        seen.add(file)
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                packages.add(name.split(".")[0])
                module = CHECKOUT.joinpath(*name.split("."))
                pending += [module.with_suffix(".py"), module / "__init__.py"]
    return packages
