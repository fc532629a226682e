"""What AWX refuses to link below an object.

Rules: `is_valid_relation` of awx/api/views: `JobTemplateCredentialsList`, and
`WorkflowJobTemplateNodeChildrenBaseList`.
"""

from __future__ import annotations

from tests.awx.store import Refused, Store

_NODES = "workflow_job_template_nodes"
_WAYS = ("success_nodes", "failure_nodes", "always_nodes")
_OF_JOBS = ("ssh", "vault", "cloud", "net", "kubernetes")


def check(store: Store, kind: str, number: int, sub: str, one: int) -> None:
    """See whether AWX links an object of id `one` below another, by a sub-path.

    Raises:
        Refused: it does not.
    """
    if (kind, sub) == ("job_templates", "credentials"):
        _check_credential(store, number, one)
    elif kind == _NODES and sub in _WAYS:
        _check_way(store, number, sub, one)


def _check_credential(store: Store, template: int, one: int) -> None:
    linked = store.linked("job_templates", template, "credentials")
    of = [store.get("credentials", number)["credential_type"] for number in (one, *linked)]
    named = store.get("credential_types", of[0])
    if of[0] in of[1:] and named["kind"] != "vault":
        raise Refused(400, {"error": f"Cannot assign multiple {named['name']} credentials."})
    if named["kind"] not in _OF_JOBS:
        raise Refused(400, {"error": f"Cannot assign a Credential of kind `{named['kind']}`."})


def _check_way(store: Store, number: int, sub: str, one: int) -> None:
    flows = {store.get(_NODES, node)["workflow_job_template"] for node in (number, one)}
    if len(flows) > 1:
        raise Refused(400, {"detail": "Nodes are not of the same workflow job template."})
    if number == one or number in _behind(store, one):
        raise Refused(400, {"Error": "Cycle detected."})
    others = [way for way in _WAYS if way != sub]
    if any(one in store.linked(_NODES, number, way) for way in others):
        raise Refused(400, {"Error": "Relationship not allowed."})


def _behind(store: Store, node: int) -> set[int]:
    """Every node that comes after one, by whichever way."""
    found: set[int] = set()
    pending = [node]
    while pending:
        at = pending.pop()
        following = {n for way in _WAYS for n in store.linked(_NODES, at, way)} - found
        found |= following
        pending += following
    return found
