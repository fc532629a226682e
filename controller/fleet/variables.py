"""Variables and secrets of hosts and hostgroups: what may stand where, and merging changes in.

Ansible templates variables on the control node (docs.ansible.com: lookups are evaluated there), and
its own decide what runs there and which machine is reached: behind one address, each port may be
another one. A token that is limited to hostgroups may therefore set, and take away, only those that
concern its hosts alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.errors import Forbidden, Invalid
from controller.fleet.access import EVERY_HOST
from controller.web.fields import holds_template, plain_json

_PASSWORD = re.compile(r"ansible_(\w+_)?(pass|password|passphrase|private_key)")
_ELSEWHERE = {
    "ansible_host": "give it as `address`",
    "agent_config_kind": "give it as `agent_kind`",
    "plugin_bindings": "make bindings of it",
    "plugin_config_overrides": "make overrides of it",
    "plugin_source_release": "publish a release",
    "plugin_source_controller": "it is the controller's public_url",
    "plugfleet_plan": "it is computed",
}
_OF_THE_HOST_ALONE = {
    "ansible_user",
    "ansible_become",
    "ansible_become_user",
    "ansible_python_interpreter",
}


def merge_order(hostgroup: str, variables: Mapping[str, Any]) -> tuple[bool, int, str]:
    """Sorts hostgroups as Ansible merges their variables: `all`, then priority, then name."""
    priority = variables.get("ansible_group_priority", 1)
    return (hostgroup != EVERY_HOST, priority if isinstance(priority, int) else 1, hostgroup)


def is_password(name: str) -> bool:
    """Whether Ansible knows a variable as a password or key."""
    return _PASSWORD.fullmatch(name) is not None


def merged(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with changes put in; null takes a name away (RFC 7396)."""
    taken = {name for name, value in changes.items() if value is None}
    return {name: value for name, value in {**old, **changes}.items() if name not in taken}


def settle(
    by: Principal,
    vault: Vault,
    old: Mapping[str, Any],
    sealed: str,
    new: Mapping[str, Any],
    secrets: Mapping[str, str | None],
) -> str:
    """Hold new variables, and changes of secrets, against what may be set.

    Args:
        old: the variables so far.
        sealed: the secrets so far, encrypted.
        new: the variables to be, all of them.
        secrets: secrets to set; null takes one away.

    Returns:
        The secrets to be, encrypted; the very same text where nothing changes.

    Raises:
        Invalid: names the variables that may not be, or not there.
        Forbidden: the token is limited, and they reach further than its hosts.
    """
    opened = vault.open(sealed)
    kept = merged(opened, secrets)
    problems = {name: why for name in new if (why := _refusal(name, kept))}
    problems |= {name: _ELSEWHERE[name] for name in secrets if name in _ELSEWHERE}
    if problems:
        fields = [{"field": f"variables.{name}", "message": why} for name, why in problems.items()]
        raise Invalid("; ".join(f"{name}: {why}" for name, why in problems.items()), fields=fields)
    try:
        plain_json(dict(new))
    except ValueError as error:
        raise Invalid(
            f"variables: {error}", fields=[{"field": "variables", "message": str(error)}]
        ) from None
    if by.hostgroups is not None:
        before, after = {**old, **opened}, {**new, **kept}
        names = [n for n in {**before, **after} if before.get(n) != after.get(n)]
        _check_reach(by, {name: after.get(name) for name in names})
    return sealed if kept == opened else vault.seal(kept)


def _refusal(name: str, secrets: Mapping[str, Any]) -> str:
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    if is_password(name):
        return "give it in `secrets`: variables are shown to everybody"
    if name in secrets:
        return "is a secret already; take that away first (null)"
    return ""


def check_address(by: Principal, old: str, new: str) -> None:
    """Refuse a limited token to say where a host is: it could point at any machine that the
    controller's SSH key opens.

    Raises:
        Forbidden: the address would change.
    """
    if by.hostgroups is not None and old != new:
        raise Forbidden(
            f"an address decides which machine is reached; token {by.name!r} is limited to hostgroups"
        )


def _check_reach(by: Principal, changed: Mapping[str, Any]) -> None:
    for name, value in changed.items():
        ours = name in _OF_THE_HOST_ALONE or is_password(name)
        if name.startswith(("ansible_", "plugin_source_")) and not ours:
            raise Forbidden(
                f"{name} decides what runs on the control node or which machine is reached; "
                f"token {by.name!r} is limited to hostgroups"
            )
        if holds_template(value):
            raise Forbidden(
                f"{name} holds a template, which is evaluated on the control node; "
                f"token {by.name!r} is limited to hostgroups"
            )
