"""What each agent version makes of each finding, against what real agents were measured to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agentplugin.agents import (
    EXECUTOR,
    MASTER,
    V021,
    V03,
    harm,
    ignores_scripts,
    judged,
    named_versions,
    reported_versions,
)
from agentplugin.lint import lint_tree

SH = "#!/bin/sh\necho '[]'\n"
NULL = "#!/bin/sh\necho '[null]'\n"
FALCONS = {V021, V03, MASTER}

# finding: (a tree with it, the versions that it harms, of those the ones that may die of it)
HARMS = {
    "step-not-positive": ({"s/0_a.sh": SH}, FALCONS, FALCONS),
    "step-overflow": ({"s/9223372037_a.sh": SH}, FALCONS, FALCONS),
    "leftover-file": ({"s/60_a.py~": SH}, FALCONS, {V021}),
    "documentation-as-plugin": ({"s/300_README.md": ("x", 0o644)}, FALCONS, {V021}),
    "not-executable": ({"s/60_a.sh": (SH, 0o644)}, {*FALCONS, EXECUTOR}, {V021}),
    "prints-null": ({"s/60_a.sh": NULL}, FALCONS, FALCONS),
}


@pytest.mark.parametrize("agent", [V021, V03, MASTER, EXECUTOR])
@pytest.mark.parametrize("code", HARMS)
def test_a_finding_is_an_error_for_the_agents_that_it_harms_alone(
    plant: Callable[..., Path], code: str, agent: str
) -> None:
    tree, harmed, killed = HARMS[code]
    problems = lint_tree(str(plant(tree))).as_dict()["problems"]
    (problem,) = [p for p in judged(problems, [agent]) if p["code"] == code]
    assert problem["severity"] == ("error" if agent in harmed else "warning")
    assert agent in problem["agents"]
    assert ("dies" in problem["agents"]) == (agent in killed)


@pytest.mark.parametrize("agent", [V021, EXECUTOR])
def test_what_no_agent_can_run_is_an_error_for_every_one(
    plant: Callable[..., Path], agent: str
) -> None:
    problems = lint_tree(str(plant({"s/60_a.sh": "echo"}))).as_dict()["problems"]
    assert judged(problems, [agent]) == problems
    assert [p["severity"] for p in problems] == ["error"]


def test_of_several_agents_each_harmed_one_is_named(plant: Callable[..., Path]) -> None:
    problems = lint_tree(str(plant({"s/0_a.sh": SH}))).as_dict()["problems"]
    (problem,) = judged(problems, ["executor", "0.2.1", "5.1.2"])
    assert problem["severity"] == "error"
    assert "0.2.1" in problem["agents"] and "5.1.2" in problem["agents"]
    assert "executor" not in problem["agents"]


@pytest.mark.parametrize(
    ("reported", "versions"),
    [
        ("5.1.2", (V021, V03)),
        ("5.1.1", (V021,)),
        ("5.0.9", (V021,)),
        ("0.3.x@9349180", (MASTER,)),
        ("0.3.x", (MASTER,)),
        ("pf-0.1.0", (EXECUTOR,)),
        ("5.2.0", ()),
        ("6.0", ()),
        ("", ()),
        ("5.1.2'; DROP TABLE host", ()),
        ("5.1." + "9" * 5000, ()),
    ],
)
def test_versions_are_told_from_what_heartbeats_say(
    reported: str, versions: tuple[str, ...]
) -> None:
    assert reported_versions(reported) == versions


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        ("0.2.1", (V021,)),
        ("v0.2.1", (V021,)),
        ("0.3", (V03,)),
        ("v0.3.0", (V03,)),
        (" master ", (MASTER,)),
        ("executor", (EXECUTOR,)),
        ("5.1.2", (V021, V03)),
        ("0.9", ()),
    ],
)
def test_people_may_name_a_version_as_they_like(text: str, versions: tuple[str, ...]) -> None:
    assert named_versions(text) == versions


def test_an_agent_that_may_be_either_is_taken_for_the_one_that_bears_least() -> None:
    assert "dies" in harm("not-executable", (V021, V03))
    assert ignores_scripts((V021, V03)) and not ignores_scripts((V03,))


def test_an_agent_that_nobody_knows_is_spared_what_kills_all_of_them() -> None:
    assert "dies" in harm("step-not-positive", ())
    assert "dies" not in harm("not-executable", ())
    assert not ignores_scripts(())


# line of a script: whether it prints a list with null in it
PRINTED = {
    "echo '[null]'": True,
    'echo "[null, null]"': True,
    "printf '[null]\\n'": True,
    "echo -n '[1,null]'": True,
    "print(json.dumps([None]))": True,
    "print('[null]')": True,
    "out = json.dumps([first, None])": True,
    "# echo '[null]'": False,
    "echo '[]'": False,
    "echo '[{\"metric\": null}]'": False,
    'if [ "$x" = null ]; then echo "[]"; fi': False,
    "json.dumps([{'value': None}])": False,
    "values = [None, None]": False,
}


@pytest.mark.parametrize("line", PRINTED)
def test_printed_null_is_found_with_its_line(plant: Callable[..., Path], line: str) -> None:
    root = plant({"s/60_a.sh": f"#!/bin/sh\ntrue\n{line}\n"})
    found = [p.line for p in lint_tree(str(root)).problems if p.code == "prints-null"]
    assert found == ([3] if PRINTED[line] else [])
