"""What the job template must be that the controller launches, and what a launch says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.awx.errors import AwxError

_PLAYBOOKS = ("deploy-plugins.yml", "playbooks/deploy-plugins.yml")
# The field of a launch, the template's switch that lets it count, and how the pages call the switch.
_SWITCHES = {
    "limit": "ask_limit_on_launch",
    "extra_vars": "ask_variables_on_launch",
    "job_type": "ask_job_type_on_launch",
    "diff_mode": "ask_diff_mode_on_launch",
    "forks": "ask_forks_on_launch",
}
# What a command line can hold in one argument is 128 KiB (Linux, MAX_ARG_STRLEN).
MOST_LIMIT = 100_000


@dataclass(frozen=True)
class Template:
    """A job template that fits.

    Attributes:
        settled: what every launch says beside hosts and variables.
    """

    id: int
    name: str
    inventory: int
    settled: Mapping[str, Any]

    def launch(self, hosts: Sequence[str], variables: Mapping[str, Any]) -> dict[str, Any]:
        """What to launch it with."""
        return {**self.settled, "limit": ",".join(hosts), "extra_vars": dict(variables)}


def fit(found: Mapping[str, Any], *, check: bool, forks: int, several: bool) -> Template:
    """A job template as AWX gives it, if it does what the controller needs.

    Args:
        check: the job is to look only.
        forks: hosts that one job visits at a time.
        several: more than one job of it runs at a time.

    Raises:
        AwxError: says what to set on it.
    """
    name = str(found.get("name"))
    if found.get("playbook") not in _PLAYBOOKS:
        raise AwxError(
            f"the job template {name!r} runs {found.get('playbook')!r}, not deploy-plugins.yml",
            hint="set awx_job_template to one that runs the project's deploy-plugins.yml",
        )
    if not found.get("inventory"):
        raise AwxError(
            f"the job template {name!r} has no inventory",
            hint="give it the inventory that comes from this controller",
        )
    if int(found.get("job_slice_count") or 1) > 1:
        raise AwxError(
            f"the job template {name!r} cuts its inventory into {found['job_slice_count']} slices",
            hint="set its job slicing to 1: the controller cuts waves by itself (awx_slices), as AWX "
            "cuts the whole inventory before it takes the limit",
        )
    if several and not found.get("allow_simultaneous"):
        raise AwxError(
            f"the job template {name!r} does not run twice at a time",
            hint="set its option 'Concurrent jobs' (allow_simultaneous), or awx_slices to 1",
        )
    wanted: dict[str, Any] = {"job_type": "check" if check else "run", "forks": forks}
    if check:
        wanted["diff_mode"] = True
    settled = {key: value for key, value in wanted.items() if found.get(_SWITCHES[key])}
    needed = ["limit", "extra_vars"]
    needed += [
        key
        for key in ("job_type", "diff_mode")
        if key in wanted and key not in settled and found.get(key) != wanted[key]
    ]
    missing = [_SWITCHES[key] for key in needed if not found.get(_SWITCHES[key])]
    if missing:
        raise AwxError(
            f"the job template {name!r} does not ask for what a deployment must say",
            hint=f"switch on 'Prompt on launch' for: {', '.join(missing)}",
        )
    return Template(int(found["id"]), name, int(found["inventory"]), settled)


def switches(fields: Mapping[str, Any]) -> str:
    """The switches of a template that let these fields of a launch count."""
    return ", ".join(_SWITCHES.get(name, name) for name in fields)


def unheeded(found: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    """The switches that a job template lacks to let these fields of a schedule count; or nothing.

    AWX holds a schedule against its template when it is made and changed. When its time comes, it leaves out what
    the template does not ask for any more, and begins the job nevertheless (`get_job_kwargs` of Schedule in
    awx/main/models/schedules.py).
    """
    lacking = [
        name
        for name, value in fields.items()
        if value and not found.get(_SWITCHES[name]) and found.get(name) != value
    ]
    if "extra_vars" in lacking and found.get("survey_enabled"):
        lacking.remove("extra_vars")  # its survey takes the answers
    return switches(dict.fromkeys(lacking))


def cut(hosts: Sequence[str], size: int, most: int) -> list[list[str]]:
    """Hosts in parts of about the same number: more than one from `size` hosts on, at most `most`.

    No part is longer than what a command line holds, so there may be more of them after all.
    """
    number = min(most, -(-len(hosts) // size)) or 1
    while True:
        parts = [list(hosts[start::number]) for start in range(min(number, len(hosts)))]
        if all(sum(len(host) + 1 for host in part) <= MOST_LIMIT for part in parts):
            return parts
        number += 1


def carries(job: Mapping[str, Any], variable: str, value: str) -> bool:
    """Whether a job was launched with a variable of this value."""
    given = job.get("extra_vars")
    try:
        # AWX gives the variables as text, which is JSON, whatever they were given as.
        read = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        return False
    return isinstance(read, Mapping) and read.get(variable) == value
