"""Action `awx_object`: one object of AWX's, made, changed or removed, so that it is as it should be.

It runs on the control node and speaks HTTP from there; no collection has to be downloaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

_CHECKOUT = str(Path(__file__).resolve().parents[3])
if _CHECKOUT not in sys.path:
    sys.path.insert(0, _CHECKOUT)

from roles.awx_setup.control.client import Awx, Connection  # noqa: E402
from roles.awx_setup.control.objects import Objects, Outcome, Reference, Wanted  # noqa: E402
from roles.awx_setup.control.refusals import AwxError  # noqa: E402
from roles.awx_setup.control.updates import update  # noqa: E402
from roles.awx_setup.control.workflow import bring_nodes  # noqa: E402

_OPTIONS = {
    "connection",
    "organization",
    "prefix",
    "object",
    "state",
    "update_secrets",
    "update_timeout",
}
_OBJECT = {
    "kind",
    "name",
    "fields",
    "refers",
    "links",
    "keeps",
    "within",
    "survey",
    "shared",
    "nodes",
    "update",
    "needed",
}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Bring one object about; without `object`, only see that AWX answers and knows the token."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = self._task.args
        unknown = sorted(set(args) - _OPTIONS) + sorted(set(args.get("object") or {}) - _OBJECT)
        if unknown:
            return result | {"failed": True, "msg": f"unknown options: {', '.join(unknown)}"}
        try:
            awx = Awx(_connection(args["connection"]))
            if not args.get("object"):
                return result | {"changed": False, "version": awx.check()}
            outcome = self._bring(awx, args)
        except AwxError as error:
            return result | {"failed": True, "msg": str(error)}
        result |= {"changed": outcome.changed, "msg": outcome.message}
        if outcome.found:
            result["id"] = outcome.found["id"]
        if outcome.changed:
            header = f"{args['object']['kind']} {args['object']['name']}"
            result["diff"] = {
                "before_header": header,
                "after_header": header,
                "before": _lines(outcome.before),
                "after": _lines(outcome.after),
            }
        return result

    def _bring(self, awx: Awx, args: Mapping[str, Any]) -> Outcome:
        given = args["object"]
        check = bool(self._task.check_mode)
        objects = Objects(
            awx,
            str(args.get("organization") or ""),
            str(args.get("prefix") or ""),
            check=check,
            update_secrets=boolean(args.get("update_secrets", False)),
        )
        wanted = _wanted(given)
        if args.get("state") == "absent":
            return objects.absent(wanted)
        if args.get("state") == "kept":
            return objects.keep(wanted)
        outcome = objects.present(wanted)
        if given.get("nodes"):
            bring_nodes(objects, outcome, _plain(given["nodes"]))
        if given.get("update") and outcome.found and not check:
            timeout = float(args.get("update_timeout") or 600)
            began = update(awx, wanted.kind, outcome.found, again=outcome.changed, timeout=timeout)
            outcome.changed = outcome.changed or began
            outcome.message += ", and AWX has fetched it" if began else ""
        return outcome


def _connection(given: Mapping[str, Any]) -> Connection:
    values = {name: value for name, value in given.items() if value not in (None, "")}
    return Connection(**{"url": "", **values})


def _wanted(given: Mapping[str, Any]) -> Wanted:
    given = _plain(given)
    return Wanted(
        kind=given["kind"],
        name=given["name"],
        fields=given.get("fields") or {},
        refers={
            name: Reference.read(to) if to else None
            for name, to in (given.get("refers") or {}).items()
        },
        links={
            sub: [Reference(to["kind"], name) for name in to["names"]]
            for sub, to in (given.get("links") or {}).items()
        },
        keeps=given.get("keeps") or {},
        within=given.get("within") or "",
        survey=given.get("survey"),
        shared=boolean(given.get("shared", False)),
    )


def _plain(value: Any) -> Any:
    """Ansible's own kinds of texts and lists, as plain ones."""
    return json.loads(json.dumps(value, default=str))


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(
        f"{name}: {json.dumps(value, sort_keys=True, ensure_ascii=False)}\n"
        for name, value in sorted(values.items())
    )
