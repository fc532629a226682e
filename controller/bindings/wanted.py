"""What somebody wants to bind, in normal form and held against a release: for bindings that are made, changed,
previewed or applied."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, aliased

from agentplugin import formats
from agentplugin.agents import depends_on_agent
from agentplugin.bindings import BindingError, parse_binding
from agentplugin.plans import resolve
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.bindings import configs, releasing
from controller.bindings.configs import Finding, Manifests
from controller.bindings.merging import CONFLICT, Form, entry, form_of
from controller.bindings.models import LONGEST_KEY, BindingRow
from controller.bindings.sealing import Stored, names, plain, settle
from controller.catalog import releaserows
from controller.catalog.tree import GitTree
from controller.errors import Conflict, Forbidden, Invalid
from controller.fleet.access import EVERY_HOST, seen_by
from controller.fleet.models import Host, Hostgroup, Membership


@dataclass(frozen=True)
class Wanted:
    """A binding as it is to be.

    Attributes:
        form: its configuration with `Sealed` values.
        findings: what its manifest says of the configuration by itself.
        needs_executor: whether no Open-Falcon agent runs it.
        manifests: that it was held against.
    """

    form: Form
    findings: Sequence[Finding]
    needs_executor: bool
    manifests: Manifests


def wanted(
    tree: GitTree | None,
    manifests: Manifests,
    *,
    plugin: str,
    config: Mapping[str, Any] | None,
    secrets: Mapping[str, Any],
    format: str = "",
    step: int = 0,
    old: Stored | None = None,
    field: str = "body",
    lenient: bool = False,
) -> Wanted:
    """The normal form of a binding, held against a tree but not yet against its manifest.

    Args:
        old: its configuration so far.
        field: what of the request holds it.
        lenient: as in `sealing.settle`.

    Raises:
        Invalid: no agent whatever could run it; says what to write instead.
    """
    try:
        text = parse_binding(plugin).text
    except BindingError as error:
        raise _refused(f"{field}.plugin", str(error), error.code) from None
    format = "" if format == formats.BOUNDARY else format
    manifest = manifests.of(text)
    settled = settle(
        config,
        secrets,
        None if format else manifest,
        old=old,
        field=f"{field}.config",
        lenient=lenient,
    )
    form = _form(text, settled, format, step, field)
    if tree is not None:
        _check_tree(form, tree, field)
    return Wanted(
        form, configs.check_form(manifests, form), bool(format or manifest is not None), manifests
    )


def need_newest(session: Session, tree: GitTree | None) -> None:
    """Refuse what was held against a release that is no longer the newest; the caller has locked the counter
    of plans, so that none is published before its transaction ends.

    Raises:
        Conflict: another one was published meanwhile.
    """
    newest = releaserows.newest(session)
    if tree is not None and newest is not None and tree.name != newest.commit:
        raise Conflict(
            f"release {newest.number} was published at this moment; nothing was changed",
            hint="try again",
        )


def need_fit(
    session: Session, vault: Vault, hostgroup: Hostgroup, made: Wanted, field: str = "body"
) -> None:
    """Refuse a configuration that does not fit its manifest.

    What is only missing, all hosts of the hostgroup may have from elsewhere.

    Raises:
        Invalid: names each place.
    """
    if any(finding.is_error for finding in made.findings):
        forms = partial(releasing.on_hosts, session, vault, hostgroup.id, hostgroup.name, made.form)
        configs.need_fit(configs.check_filled(made.form, forms, made.manifests), field)


def need_one_format(session: Session, hostgroup: Hostgroup, form: Form) -> None:
    """Refuse to bind a plugin otherwise than another hostgroup does that shares a host.

    Raises:
        Invalid: names the other one.
    """
    query = (
        select(Hostgroup.id, Hostgroup.name, BindingRow.format, BindingRow.step)
        .join(BindingRow.hostgroup)
        .where(BindingRow.key == form.key, Hostgroup.id != hostgroup.id)
    )
    for other, name, format, step in session.execute(query).all():
        if (format, step) != (form.format, form.step) and _share(session, hostgroup, other, name):
            theirs = f"{format} every {step} s" if format else "without a format"
            message = f"{form.key!r} is bound {theirs} to hostgroup {name!r}, which shares hosts"
            raise Invalid(
                message,
                hint="a host runs a plugin in one way: bind it alike in both",
                fields=[{"field": "body.format", "message": f"{message} [{CONFLICT}]"}],
            )


def need_reach(session: Session, by: Principal, hostgroup: Hostgroup, form: Form) -> None:
    """Refuse a limited token to configure a plugin that has secrets of another hostgroup on hosts that the token
    sees: by what it says the secrets could be sent elsewhere. It could make any of these hosts a member.

    Raises:
        Forbidden: names the hostgroups.
    """
    if by.hostgroups is None or not form.config:
        return
    seen = select(Membership.host_id).join(Host, Host.id == Membership.host_id).where(seen_by(by))
    query = (
        select(Hostgroup.name)
        .join(BindingRow, BindingRow.hostgroup_id == Hostgroup.id)
        .where(BindingRow.key == form.key, BindingRow.secrets != "")
        .where(Hostgroup.id != hostgroup.id)
        .where(
            (Hostgroup.name == EVERY_HOST)
            | seen.where(Membership.hostgroup_id == Hostgroup.id).correlate(Hostgroup).exists()
        )
    )
    need_secrets_of(by, form.key, session.scalars(query))


def need_secrets_of(by: Principal, key: str, hostgroups: Iterable[str]) -> None:
    """Refuse a limited token what the secrets of other hostgroups would be told to.

    Args:
        hostgroups: whose bindings of the plugin have secrets, on hosts that are concerned.

    Raises:
        Forbidden: names those that the token is not for.
    """
    if by.sees_hostgroup(EVERY_HOST):
        return
    outside = sorted(name for name in hostgroups if not by.sees_hostgroup(name))
    if outside:
        raise Forbidden(
            f"{key!r} has secrets of hostgroup {', '.join(outside)} on hosts of token "
            f"{by.name!r}, which is not for it: what is configured here could send them elsewhere",
            hint="let somebody configure it whose token is for that hostgroup too",
        )


def _share(session: Session, hostgroup: Hostgroup, other: int, name: str) -> bool:
    ours, theirs = aliased(Membership), aliased(Membership)
    query = select(ours.host_id).where(ours.hostgroup_id == hostgroup.id)
    if hostgroup.name == EVERY_HOST:
        query = select(theirs.host_id).where(theirs.hostgroup_id == other)
    elif name != EVERY_HOST:
        both = (theirs.host_id == ours.host_id) & (theirs.hostgroup_id == other)
        query = query.where(exists().where(both))
    return session.scalar(query.limit(1)) is not None


def find_hostgroup(
    session: Session, by: Principal, name: str, field: str = "body.hostgroup"
) -> Hostgroup:
    """A hostgroup that a request's body names.

    Raises:
        Invalid: there is none of that name; says which one is close to it.
        Forbidden: the token is not for it.
    """
    by.need_hostgroups([name])
    hostgroup = session.scalar(select(Hostgroup).where(Hostgroup.name == name))
    if hostgroup is None:
        names = filter(by.sees_hostgroup, session.scalars(select(Hostgroup.name)))
        message = f"there is no hostgroup {name!r}{_did_you_mean(name, names)}"
        raise Invalid(message, fields=[{"field": field, "message": message}])
    return hostgroup


def _form(text: str, settled: Mapping[str, Any] | None, format: str, step: int, field: str) -> Form:
    if not format:
        if step:
            raise _refused(
                f"{field}.step", "a step goes with a format; without one it says nothing", "format"
            )
        if settled is not None and parse_binding(text).args is not None:
            message = f"{text!r} has arguments, so it takes no configuration"
            raise _refused(f"{field}.plugin", message, "binding-not-a-manifest")
        return Form(text, text, "", 0, settled)
    if any(path == "args" or path.startswith("args/") for path in names(settled)):
        raise _refused(
            f"{field}.config_secrets",
            "arguments stand in the list of processes: none of them can be a secret",
            "binding-format",
        )
    try:
        form = form_of(entry(text, settled or {}, format, step or formats.DEFAULT_STEP))
    except BindingError as error:
        message = str(error).removeprefix("binding 1: ")
        place = (
            "config.args" if '"args"' in message else "step" if '"step"' in message else "format"
        )
        raise _refused(f"{field}.{place}", message, error.code) from None
    if len(form.key) > LONGEST_KEY:
        raise _refused(
            f"{field}.config.args",
            f"plugin and arguments have {len(form.key)} characters; {LONGEST_KEY} are taken",
            "binding-too-long",
        )
    return form


def _check_tree(form: Form, tree: GitTree, field: str) -> None:
    for problem in resolve([plain(form.entry)], tree).problems:
        if problem.severity == "error" and not depends_on_agent(problem.code):
            close = ""
            if problem.code == "binding-not-found":
                close = _did_you_mean(parse_binding(form.plugin).path, tree.paths())
            message = f"{problem.message}{close} ({problem.hint})"
            raise _refused(f"{field}.plugin", message, problem.code)


def _refused(field: str, message: str, code: str) -> Invalid:
    return Invalid(message, fields=[{"field": field, "message": f"{message} [{code}]"}])


def _did_you_mean(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
