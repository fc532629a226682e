"""The nodes of a workflow: which templates run, in which order, and where somebody must approve.

AWX keeps an approval as a template of its own below its node; nodes are told apart by `identifier`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from roles.awx_setup.control.client import Object
from roles.awx_setup.control.compare import differing
from roles.awx_setup.control.objects import Objects, Outcome, Reference
from roles.awx_setup.control.refusals import AwxError

_WAYS = ("success_nodes", "failure_nodes", "always_nodes")
_NODES = "workflow_job_template_nodes"


def bring_nodes(objects: Objects, workflow: Outcome, wanted: Sequence[Mapping[str, Any]]) -> None:
    """Give a workflow exactly these nodes.

    Args:
        workflow: what came of the workflow itself; changes are added to it.
        wanted: `{identifier, template: {kind, name} or approval: {name, ...}, fields, success, failure,
            always}`, the last three naming nodes that follow.

    Raises:
        AwxError: AWX refuses one, or a node follows that is not there.
    """
    known = {str(node["identifier"]) for node in wanted}
    for node in wanted:
        for way in _WAYS:
            if unknown := set(_followers(node, way)) - known:
                raise AwxError(
                    f"node {node['identifier']!r} is followed by {sorted(unknown)[0]!r}, which is no node "
                    "of this workflow"
                )
    there: dict[str, Object] = {}
    if workflow.found:
        below = f"workflow_job_templates/{workflow.found['id']}/workflow_nodes/"
        there = {str(node["identifier"]): node for node in objects.awx.all(below)}
    for identifier in sorted(set(there) - known):
        _note(workflow, identifier, there[identifier]["id"], None)
        if not objects.check:
            objects.awx.delete(f"{_NODES}/{there[identifier]['id']}/")
    brought = {
        str(node["identifier"]): _bring(objects, workflow, node, there.get(str(node["identifier"])))
        for node in wanted
    }
    # All that is to go first: AWX refuses a second way between two nodes, and a circle.
    for adding in (False, True):
        for node in wanted:
            _relink(objects, brought, node, adding=adding)
    for node in wanted:
        before = {way: sorted(_linked(brought, node, way)) for way in _WAYS}
        after = {way: sorted(_followers(node, way)) for way in _WAYS}
        if before != after:
            other = [way for way in _WAYS if before[way] != after[way]]
            _note(
                workflow,
                f"{node['identifier']} is followed by",
                {way: before[way] for way in other if before[way]},
                {way: after[way] for way in other},
            )


def _bring(
    objects: Objects, workflow: Outcome, node: Mapping[str, Any], found: Object | None
) -> Object | None:
    identifier = str(node["identifier"])
    fields: dict[str, Any] = {"identifier": identifier, **(node.get("fields") or {})}
    template = Reference.read(node["template"]) if node.get("template") else None
    if template:
        fields["unified_job_template"] = objects.number(template)
    sent = differing(fields, found or {}, update_secrets=False)
    if sent:
        _note(
            workflow, identifier, {name: found.get(name) for name in sent} if found else None, sent
        )
    if sent and workflow.found and not objects.check:
        if found:
            found = objects.awx.patch(f"{_NODES}/{found['id']}/", sent)
        else:
            above = f"workflow_job_templates/{workflow.found['id']}/workflow_nodes/"
            found = objects.awx.post(above, sent)
    if node.get("approval"):
        _bring_approval(objects, workflow, node["approval"], found, identifier)
    return found


def _bring_approval(
    objects: Objects,
    workflow: Outcome,
    approval: Mapping[str, Any],
    node: Object | None,
    identifier: str,
) -> None:
    there: Mapping[str, Any] = {}
    if node:
        summary = node.get("summary_fields", {}).get("unified_job_template") or {}
        if summary.get("unified_job_type") == "workflow_approval":
            there = objects.awx.get(f"workflow_approval_templates/{summary['id']}/")
    sent = differing(approval, there, update_secrets=False)
    if not sent:
        return
    before = {name: there.get(name) for name in sent} if there else None
    _note(workflow, f"{identifier} asks", before, sent)
    if node is None or objects.check:
        return
    if there:
        objects.awx.patch(f"workflow_approval_templates/{there['id']}/", sent)
    else:
        objects.awx.post(f"{_NODES}/{node['id']}/create_approval_template/", sent)


def _relink(
    objects: Objects, brought: Mapping[str, Object | None], node: Mapping[str, Any], *, adding: bool
) -> None:
    """Take away, or add, what follows a node."""
    own = brought[str(node["identifier"])]
    if own is None or objects.check:
        return
    for way in _WAYS:
        there, to_be = _linked(brought, node, way), set(_followers(node, way))
        path = f"{_NODES}/{own['id']}/{way}/"
        for name in sorted(to_be - there if adding else there - to_be):
            number = (brought[name] or {})["id"]
            objects.awx.post(path, {"id": number} | ({} if adding else {"disassociate": True}))


def _linked(brought: Mapping[str, Object | None], node: Mapping[str, Any], way: str) -> set[str]:
    """What follows a node in AWX, as it was when the node was brought about; without nodes that are gone."""
    names = {one["id"]: name for name, one in brought.items() if one}
    own = brought[str(node["identifier"])] or {}
    return {names[number] for number in own.get(way, ()) if number in names}


def _followers(node: Mapping[str, Any], way: str) -> list[str]:
    return [str(name) for name in node.get(way.removesuffix("_nodes")) or ()]


def _note(workflow: Outcome, what: str, before: Any, after: Any) -> None:
    """Add a change of a node to those of its workflow."""
    if not workflow.changed:
        workflow.message = "changed nodes of the workflow"
    workflow.changed = True
    if before:
        workflow.before[f"node {what}"] = before
    if after:
        workflow.after[f"node {what}"] = after
