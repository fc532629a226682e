"""Deployments: decided and recorded in one transaction, canceled, tried again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.orm import Session

from controller.audit.service import record
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.catalog.models import ReleaseRow
from controller.database.base import now
from controller.deployments import events, locks
from controller.deployments.choosing import Chosen, check_agents, choose
from controller.deployments.events import Event
from controller.deployments.models import Deployment, HostResult, HostStatus, Status, Wave
from controller.deployments.schemas import DeploymentRequest
from controller.errors import Conflict, NotFound
from controller.fleet.access import seen_by
from controller.fleet.models import Host

LOST = (HostStatus.FAILED, HostStatus.UNREACHABLE, HostStatus.INTERRUPTED)
_AGAIN = (*LOST, HostStatus.CANCELED)
_UNDECIDED = (HostStatus.WAITING, HostStatus.RUNNING)
ENDED = [status.value for status in Status if status.ended]


def start(
    session: Session,
    by: Principal,
    vault: Vault,
    request: DeploymentRequest,
    *,
    retry_of: int | None = None,
) -> Deployment:
    """Decide which hosts need a visit, and queue a deployment that visits them.

    One with nothing to do has ended already when this returns.

    Raises:
        Conflict: nothing was published yet, or another deployment holds hosts and that is refused.
        Invalid: names each host and hostgroup that there is not; or the newest release and the bindings
            would harm agents of these hosts.
        Forbidden: the token does not reach that far.
    """
    release = session.scalar(select(func.max(ReleaseRow.number)))
    if release is None:
        raise Conflict(
            "nothing was published yet, so there is nothing to deploy",
            hint="add a source and publish a release first (POST /api/v1/releases)",
        )
    chosen = choose(session, by, vault, request)
    deployment = Deployment(
        release=release,
        check=request.check,
        request=request.model_dump(mode="json"),
        by=by.name,
        retry_of=retry_of,
    )
    session.add(deployment)
    session.flush()
    visited = [host for host in chosen if request.all or not host.current]
    check_agents(session, release, visited)
    _record_hosts(session, deployment, chosen, visited, request.batch_size)
    if not visited:
        deployment.started = now()
        end(session, deployment, Status.SUCCEEDED, _nothing_to_do(len(chosen)))
    elif not request.check and (holders := locks.take(session, deployment.id)):
        if request.conflict == "refuse":
            raise Conflict(
                f"{_named(holders)} holds hosts that this one wants",
                hint='wait for it, cancel it, or ask with "conflict": "wait"',
            )
        deployment.reason = waits_for(holders)
    shown = {"release": release, "hosts": len(chosen), "visited": len(visited)} | {
        name: value for name, value in deployment.request.items() if name not in ("hosts",)
    }
    record(session, by, "deployment.start", "deployment", str(deployment.id), None, shown)
    return deployment


def waits_for(holders: Sequence[int]) -> str:
    """Why a deployment is queued still."""
    return f"waits for hosts that {_named(holders)} holds"


def find(session: Session, by: Principal, deployment_id: int, *, lock: bool = False) -> Deployment:
    """A deployment that the token sees something of.

    Args:
        lock: keep others from changing its row until the transaction ends.

    Raises:
        NotFound: there is none.
    """
    query = seen(by).where(Deployment.id == deployment_id)
    deployment: Deployment | None = session.scalar(
        query.with_for_update(of=Deployment) if lock else query
    )
    if deployment is None:
        raise NotFound(f"there is no deployment {deployment_id}")
    return deployment


def seen(by: Principal) -> Select[Any]:
    """The deployments that concern a host that the token sees."""
    query = select(Deployment)
    if by.hostgroups is None:
        return query
    mine = (
        select(HostResult.deployment_id)
        .join(Host, Host.id == HostResult.host_id)
        .where(seen_by(by))
    )
    return query.where(Deployment.id.in_(mine))


def host_results(by: Principal, deployment_id: int) -> Select[Any]:
    """The results of a deployment on the hosts that the token sees."""
    query = select(HostResult).where(HostResult.deployment_id == deployment_id)
    if by.hostgroups is None:
        return query
    return query.join(Host, Host.id == HostResult.host_id).where(seen_by(by))


def counts(
    session: Session, by: Principal, deployment_ids: Iterable[int]
) -> dict[int, dict[int, dict[HostStatus, int]]]:
    """How many hosts have which status: by deployment and wave."""
    query = (
        select(HostResult.deployment_id, HostResult.wave, HostResult.status, func.count())
        .where(HostResult.deployment_id.in_(list(deployment_ids)))
        .group_by(HostResult.deployment_id, HostResult.wave, HostResult.status)
    )
    if by.hostgroups is not None:
        query = query.join(Host, Host.id == HostResult.host_id).where(seen_by(by))
    found: dict[int, dict[int, dict[HostStatus, int]]] = {}
    for deployment_id, wave, status, number in session.execute(query):
        found.setdefault(deployment_id, {}).setdefault(wave, {})[HostStatus(status)] = number
    return found


def totals(
    session: Session, by: Principal, deployment_ids: Iterable[int]
) -> dict[int, dict[HostStatus, int]]:
    """How many hosts have which status, by deployment; from an index alone, as lists need it."""
    query = (
        select(HostResult.deployment_id, HostResult.status, func.count())
        .where(HostResult.deployment_id.in_(list(deployment_ids)))
        .group_by(HostResult.deployment_id, HostResult.status)
    )
    if by.hostgroups is not None:
        query = query.join(Host, Host.id == HostResult.host_id).where(seen_by(by))
    found: dict[int, dict[HostStatus, int]] = {}
    for deployment_id, status, number in session.execute(query):
        found.setdefault(deployment_id, {})[HostStatus(status)] = number
    return found


def request_of(session: Session, by: Principal, deployment: Deployment) -> dict[str, Any]:
    """What was asked for, without the names that a limited token does not see."""
    if by.hostgroups is None:
        return deployment.request
    mine = {result.host for result in session.scalars(host_results(by, deployment.id))}
    return deployment.request | {
        "hosts": [name for name in deployment.request.get("hosts", ()) if name in mine],
        "hostgroups": sorted(by.hostgroups & set(deployment.request.get("hostgroups", ()))),
    }


def cancel(session: Session, by: Principal, deployment_id: int) -> Deployment:
    """End a deployment: at once where nothing runs yet, else by asking its controller to.

    Raises:
        NotFound: there is none.
        Conflict: it has ended already.
    """
    deployment = find(session, by, deployment_id, lock=True)
    _need_all_of_it(session, by, deployment_id)
    status = Status(deployment.status)
    if status.ended:
        raise Conflict(f"deployment {deployment_id} has ended: it {_ended_how(status)}")
    before = {"status": status.value}
    deployment.cancel_requested_by = deployment.cancel_requested_by or by.name
    if status == Status.QUEUED:
        give_up(session, deployment, f"canceled by {by.name} before it began")
        end(session, deployment, Status.CANCELED, f"canceled by {by.name}")
    else:
        deployment.status = Status.CANCELING.value
    after = {"status": deployment.status}
    record(session, by, "deployment.cancel", "deployment", str(deployment_id), before, after)
    return deployment


def retry(session: Session, by: Principal, vault: Vault, deployment_id: int) -> Deployment:
    """Start a deployment of the hosts that one before did not bring to their plan.

    Raises:
        NotFound: there is none.
        Conflict: it has not ended, or left no host behind.
    """
    before = find(session, by, deployment_id)
    if not Status(before.status).ended:
        raise Conflict(
            f"deployment {deployment_id} has not ended", hint="cancel it first, or wait for it"
        )
    statuses = [status.value for status in _AGAIN]
    results = host_results(by, deployment_id).where(
        HostResult.status.in_(statuses), HostResult.host_id.is_not(None)
    )
    left = [result.host for result in session.scalars(results)]
    if not left:
        raise Conflict(f"deployment {deployment_id} left no host behind that is still there")
    asked = DeploymentRequest.model_validate(before.request)
    request = asked.model_copy(update={"hosts": left, "hostgroups": []})
    return start(session, by, vault, request, retry_of=deployment_id)


def end(session: Session, deployment: Deployment, status: Status, reason: str) -> None:
    """Write how a deployment ended, and give its hosts back."""
    deployment.status = status.value
    deployment.reason = reason
    deployment.ended = now()
    locks.free(session, deployment.id)
    told = {"status": status.value, "reason": reason}
    events.append(session, deployment.id, 0, [Event("deployment.ended", told)])


def give_up(session: Session, deployment: Deployment, reason: str) -> None:
    """Write that waves which have not begun never will, nor their hosts be visited."""
    session.execute(
        update(Wave)
        .where(Wave.deployment_id == deployment.id, Wave.status == Status.QUEUED.value)
        .values(status=Status.CANCELED.value, reason=reason, ended=now())
    )
    session.execute(
        update(HostResult)
        .where(
            HostResult.deployment_id == deployment.id,
            HostResult.status == HostStatus.WAITING.value,
        )
        .values(status=HostStatus.CANCELED.value, message=reason, ended=now())
    )


def _record_hosts(
    session: Session,
    deployment: Deployment,
    chosen: Sequence[Chosen],
    visited: Sequence[Chosen],
    batch_size: int,
) -> None:
    size = batch_size or max(1, len(visited))
    waves = {host.id: 1 + index // size for index, host in enumerate(visited)}
    moment = now()
    rows: list[dict[str, Any]] = [
        {
            "deployment_id": deployment.id,
            "host": host.name,
            "host_id": host.id,
            "wave": waves.get(host.id, 0),
            "status": (HostStatus.WAITING if host.id in waves else HostStatus.CURRENT).value,
            "plan": host.plan,
            "message": "" if host.id in waves else "reports its plan already",
            "ended": None if host.id in waves else moment,
        }
        for host in chosen
    ]
    if rows:
        session.execute(insert(HostResult), rows)
    numbers = sorted(set(waves.values()))
    session.add_all(Wave(deployment_id=deployment.id, number=number) for number in numbers)
    session.flush()
    told = {"hosts": len(chosen), "visited": len(visited), "waves": len(numbers)}
    events.append(session, deployment.id, 0, [Event("deployment.queued", told)])


def _need_all_of_it(session: Session, by: Principal, deployment_id: int) -> None:
    """A limited token may end only what concerns its own hosts alone."""
    if by.hostgroups is None:
        return
    total = session.scalar(
        select(func.count(HostResult.id)).where(HostResult.deployment_id == deployment_id)
    )
    mine = len(session.scalars(host_results(by, deployment_id)).all())
    if mine != total:
        by.need_whole_fleet(f"canceling deployment {deployment_id}, which has other hosts too,")


def _nothing_to_do(hosts: int) -> str:
    if not hosts:
        return "there are no such hosts"
    return "every host reports its plan already" if hosts > 1 else "the host reports its plan"


def _named(ids: Sequence[int]) -> str:
    return ("deployment " if len(ids) == 1 else "deployments ") + ", ".join(map(str, ids))


def _ended_how(status: Status) -> str:
    verb = "" if status in (Status.SUCCEEDED, Status.FAILED) else "was "
    return f"{verb}{status.value}"
