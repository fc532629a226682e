"""Adoption rules: which unknown hosts become hosts by themselves, and in which hostgroups."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from controller.agents.models import AdoptionRule
from controller.agents.schemas import RulePut
from controller.audit.service import record
from controller.auth.principal import Principal
from controller.database import counters
from controller.database.base import now
from controller.errors import NotFound
from controller.fleet.service import hostgroup_ids


def listing(by: Principal) -> Select[Any]:
    """The query of all rules.

    Raises:
        Forbidden: the token is limited to hostgroups.
    """
    by.need_whole_fleet("adoption rules")
    return select(AdoptionRule)


def find(session: Session, by: Principal, number: int) -> AdoptionRule:
    """A rule by its id.

    Raises:
        NotFound: there is none.
        Forbidden: the token is limited to hostgroups.
    """
    by.need_whole_fleet("adoption rules")
    rule = session.scalar(select(AdoptionRule).where(AdoptionRule.id == number))
    if rule is None:
        raise NotFound(f"there is no adoption rule {number}")
    return rule


def hold(session: Session, by: Principal, number: int) -> AdoptionRule:
    """A rule that is going to be changed, as it is now and stays until this transaction ends.

    Raises:
        NotFound: there is none.
        Forbidden: the token is limited to hostgroups.
    """
    counters.lock(session, counters.PLANS)
    return find(session, by, number)


def create(session: Session, by: Principal, spec: RulePut) -> AdoptionRule:
    """Make a rule; it counts from each unknown host's next heartbeat on.

    Raises:
        Invalid: a hostgroup does not exist.
        Forbidden: the token is limited to hostgroups.
    """
    by.need_whole_fleet("adoption rules")
    rule = AdoptionRule(**_columns(session, spec))
    session.add(rule)
    session.flush()
    record(session, by, "adoption_rule.create", "adoption rule", str(rule.id), None, describe(rule))
    return rule


def replace(session: Session, by: Principal, rule: AdoptionRule, spec: RulePut) -> AdoptionRule:
    """Let a rule be as it is described; hosts that it adopted stay.

    Raises:
        Invalid: a hostgroup does not exist.
    """
    before = describe(rule)
    for name, value in _columns(session, spec).items():
        setattr(rule, name, value)
    if describe(rule) != before:
        rule.version += 1
        rule.updated = now()
        after = describe(rule)
        record(session, by, "adoption_rule.update", "adoption rule", str(rule.id), before, after)
    return rule


def delete(session: Session, by: Principal, rule: AdoptionRule) -> None:
    """Delete a rule; hosts that it adopted stay."""
    session.delete(rule)
    record(session, by, "adoption_rule.delete", "adoption rule", str(rule.id), describe(rule), None)


def describe(rule: AdoptionRule) -> dict[str, Any]:
    """A rule as the audit log keeps it."""
    return {
        "pattern": rule.pattern,
        "network": rule.network,
        "hostgroups": rule.hostgroups,
        "use_address": rule.use_address,
    }


def _columns(session: Session, spec: RulePut) -> dict[str, Any]:
    hostgroup_ids(session, spec.hostgroups, "body.hostgroups")
    return spec.model_dump()
