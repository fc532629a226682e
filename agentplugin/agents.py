"""What each agent version makes of a finding: which ones end it, and which ones keep a plugin from
running there in silence (measured on real agents of v0.2.1, v0.3 and master)."""

from __future__ import annotations

import re

from agentplugin.problems import ERROR, WARNING, error, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

V021 = "v0.2.1"
V03 = "v0.3"
MASTER = "master"
EXECUTOR = "executor"
FALCON = (V021, V03, MASTER)
"""The Open-Falcon agents, the one that bears least first."""

KNOWN = (*FALCON, EXECUTOR)

REPORTS = {
    "unheard": "",
    "unknown": "?",
    "v0.2.1": "5.1.1",
    "v0.2.1 or v0.3": "5.1.2",
    "master": "0.3.x",
    "executor": "pf-",
}
"""All that `reported_as` tells apart, each with a version that an agent of the kind reports."""

_OLDEST_REPORT = (5, 1, 2)
_REPORTED = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})\.([0-9]{1,4})")


def _each(reason: str) -> dict[str, str]:
    return dict.fromkeys(FALCON, reason)


# By a finding's code: what a version does, as the end of "..., which". A version that is not named
# bears it: the executor leaves such a file out and says so.
_HARMS: dict[str, dict[str, str]] = {
    "step-not-positive": _each("dies of it, and again one interval after each restart"),
    "step-overflow": _each("dies of it, or runs it on a step that nobody chose"),
    "leftover-file": {
        **_each("runs the leftover as a plugin of its own"),
        V021: "runs the leftover as a plugin of its own, and dies of one without an execute bit",
    },
    "documentation-as-plugin": {
        **_each("tries to run the text at every step"),
        V021: "tries to run the text, and dies of it where it has no execute bit",
    },
    "not-executable": {
        **_each("logs 'permission denied' at every step and never has data"),
        V021: "dies of it, and again after each restart",
        EXECUTOR: "cannot start it and never has data",
    },
    "prints-null": _each("dies of it as soon as its cfg.json has default_tags"),
}
SCRIPT_IGNORED = "ignores it, and its arguments, in silence"
# Those of them that a version dies of, with every other plugin of its host.
_DEADLY = {
    "step-not-positive": FALCON,
    "step-overflow": FALCON,
    "leftover-file": (V021,),
    "documentation-as-plugin": (V021,),
    "not-executable": (V021,),
    "prints-null": FALCON,
}


def depends_on_agent(code: str) -> bool:
    """Whether a finding of that code is judged by the agents that would meet it."""
    return code in _HARMS


def reported_versions(text: str) -> tuple[str, ...]:
    """The versions that an agent may be of which reports `text`; () where nobody can tell.

    v0.2.1 and v0.3 both report 5.1.2: such an agent may be either.
    """
    if text.startswith("pf-"):
        return (EXECUTOR,)
    if text.partition("@")[0] == "0.3.x":
        return (MASTER,)
    found = _REPORTED.fullmatch(text)
    if found is None:
        return ()
    number = tuple(int(part) for part in found.groups())
    if number == _OLDEST_REPORT:
        return (V021, V03)
    return (V021,) if (5, 0, 0) <= number < _OLDEST_REPORT else ()


def named_versions(text: str) -> tuple[str, ...]:
    """As `reported_versions`, for what people write: also "0.2.1", "v0.3", "master", "executor"."""
    plain = text.strip()
    for name in KNOWN:
        if plain in (name, name.lstrip("v"), name + ".0", name.lstrip("v") + ".0"):
            return (name,)
    return reported_versions(plain)


def harm(code: str, versions: tuple[str, ...]) -> str:
    """What a finding of that code does to an agent, as the end of "..., which"; "" if it bears it.

    Where an agent may be one of several versions, the one that bears least counts. `versions` ()
    is a Falcon agent of which nobody knows more: then only what no Falcon agent bears counts.
    """
    reasons = _HARMS.get(code, {})
    if not versions:
        return reasons.get(MASTER, "")
    return next((reasons[version] for version in versions if version in reasons), "")


def kills(code: str, versions: Iterable[str]) -> bool:
    """Whether an agent that may be one of the versions may die of a finding of that code."""
    return any(version in _DEADLY.get(code, ()) for version in versions)


def reported_as(text: str) -> str:
    """What is known of an agent by the version that it reports: one of the keys of `REPORTS`."""
    if not text:
        return "unheard"
    return " or ".join(reported_versions(text)) or "unknown"


def ignores_scripts(versions: tuple[str, ...]) -> bool:
    """Whether an agent may skip a binding that names a script instead of a directory."""
    return V021 in versions


def script_problem(binding: str, who: Iterable[str]) -> dict[str, Any]:
    """What to say of a bound script that agents skip; `who` as in `refused`."""
    found = error(
        binding,
        "binding-script-ignored",
        f"the binding {shown(binding)} names a script, and agents before v0.3 take directories only",
        "bind its directory there, or bring these hosts a newer agent; where they are newer than "
        "they say, set their variable agent_version",
    )
    return refused(found.as_dict(), who)


def refused(problem: dict[str, Any], who: Iterable[str]) -> dict[str, Any]:
    """A finding as an error that says whom it harms, in `agents`; `who`: "<agents>, which <harm>"."""
    return {**problem, "severity": ERROR, "agents": "; ".join(who)}


def borne(problem: dict[str, Any], why: str) -> dict[str, Any]:
    """A finding that harms no agent that meets it: no error, and says why in `agents`."""
    return {**problem, "severity": WARNING, "agents": why}


def explained(problem: Mapping[str, Any]) -> str:
    """A finding's message, with what is known of the agents that meet it."""
    known = problem.get("agents")
    return f"{problem['message']} ({known})" if known else str(problem["message"])


def judged(problems: Iterable[dict[str, Any]], agents: Iterable[str]) -> list[dict[str, Any]]:
    """Findings as they count for agents of the given kinds, wherever a plugin is bound.

    agents  as people write them; each one that `named_versions` knows
    """
    given = [(agent, named_versions(agent)) for agent in agents]
    result = []
    for problem in problems:
        if depends_on_agent(problem["code"]):
            harms = [(agent, harm(problem["code"], versions)) for agent, versions in given]
            who = [f"agent {agent}, which {what}" for agent, what in harms if what]
            if who:
                problem = refused(problem, who)
            else:
                names = ", ".join(agent for agent, _ in given)
                problem = borne(problem, f"no error for agent {names}")
        result.append(problem)
    return result
