"""Sources: git repositories that make up the plugin tree. Their credentials go in and never come out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from controller.audit.service import record
from controller.auth.principal import Principal
from controller.auth.vault import Vault
from controller.catalog.errors import SourceError
from controller.catalog.models import SourceRow
from controller.catalog.sources import Source, tree_path
from controller.catalog.urls import SourceUrl, check_ref, parse_source_url
from controller.database import counters
from controller.database.base import now
from controller.errors import Conflict, Invalid, NotFound
from controller.web import etags


def describe(source: SourceRow) -> dict[str, object]:
    """A source as the audit log keeps it: that there are credentials, never which."""
    return {
        "path": source.path,
        "url": source.url,
        "ref": source.ref,
        "subdir": source.subdir,
        "has_credentials": bool(source.credentials),
    }


def find(session: Session, name: str) -> SourceRow:
    """A source by its name.

    Raises:
        NotFound: there is none.
    """
    source = session.scalar(select(SourceRow).where(SourceRow.name == name))
    if source is None:
        raise NotFound(f"there is no source {name!r}")
    return source


def create(
    session: Session, by: Principal, vault: Vault, name: str, values: Mapping[str, Any]
) -> SourceRow:
    """Add a source.

    Args:
        values: `url`, and if wanted `path`, `ref`, `subdir` and
            `credentials` (`{"username", "password"}`).

    Raises:
        Conflict: the name or the path is taken.
        Invalid: a value must not be used; names its field.
    """
    by.need_whole_fleet("a source")
    if session.scalar(select(SourceRow.id).where(SourceRow.name == name)):
        raise Conflict(f"there is a source {name!r} already")
    source = SourceRow(name=name, path="", ref="HEAD", subdir="", credentials="")
    _assign(vault, source, {"path": "", **values})
    _check_path(session, source)
    session.add(source)
    _flush(session, source)
    record(session, by, "source.create", "source", name, None, describe(source))
    return source


def change(
    session: Session,
    by: Principal,
    vault: Vault,
    name: str,
    values: Mapping[str, Any],
    if_match: str | None,
) -> SourceRow:
    """Change what `values` names of a source; `credentials` None takes them away.

    Raises:
        NotFound, Conflict, Invalid: as in `create`.
        PreconditionFailed: somebody else changed it since it was read.
    """
    by.need_whole_fleet("a source")
    counters.lock(session, counters.PLANS)  # what two read at once, both would change
    source = find(session, name)
    etags.check(if_match, source.version)
    before = describe(source)
    credentials = source.credentials
    _assign(vault, source, values)
    with session.no_autoflush:
        _check_path(session, source)
    if describe(source) == before and source.credentials == credentials:
        return source
    source.updated = now()
    source.version += 1
    _flush(session, source)
    record(session, by, "source.update", "source", name, before, describe(source))
    return source


def delete(session: Session, by: Principal, name: str, if_match: str | None) -> None:
    """Remove a source; its files leave the tree with the next release.

    Raises:
        NotFound: there is none.
        PreconditionFailed: somebody else changed it since it was read.
    """
    by.need_whole_fleet("a source")
    counters.lock(session, counters.PLANS)
    source = find(session, name)
    etags.check(if_match, source.version)
    session.delete(source)
    record(session, by, "source.delete", "source", name, describe(source), None)


def as_source(vault: Vault, row: SourceRow, ref: str = "") -> Source:
    """A row as the catalog takes it, at another ref if one is given.

    Raises:
        Invalid: the ref must not be used.
    """
    secrets = vault.open(row.credentials)
    url = SourceUrl(row.url, secrets.get("username", ""), secrets.get("password", ""))
    return Source(row.path, url, _checked("ref", check_ref, ref) if ref else row.ref, row.subdir)


def all_sources(session: Session, vault: Vault) -> list[Source]:
    """Every source, as the catalog takes them.

    Raises:
        Conflict: there is none yet.
    """
    rows = session.scalars(select(SourceRow).order_by(SourceRow.path)).all()
    if not rows:
        raise Conflict("there is no source yet", hint="add one: POST /api/v1/sources")
    return [as_source(vault, row) for row in rows]


def _assign(vault: Vault, source: SourceRow, values: Mapping[str, Any]) -> None:
    if "path" in values:
        source.path = _checked("path", tree_path, values["path"])
    if "subdir" in values:
        source.subdir = _checked("subdir", tree_path, values["subdir"])
    if "ref" in values:
        source.ref = _checked("ref", check_ref, values["ref"])
    given = values.get("credentials")
    if "url" in values:
        url = _checked("url", _url, values["url"])
        if url.username or url.password:
            if given:
                raise _invalid("credentials", "the url holds credentials already; give them once")
            given = {"username": url.username, "password": url.password}
        elif (
            source.credentials
            and "credentials" not in values
            and _host(url.clean) != _host(source.url)
        ):
            # Whoever may change the address must not thereby learn the password.
            raise _invalid(
                "credentials",
                "the url names another server: give its credentials, or null for none",
            )
        source.url = url.clean
    if given:
        if not source.url.startswith("https://"):
            raise _invalid(
                "credentials", "a user and password are sent over https:// only; ssh takes keys"
            )
        if vault.open(source.credentials) != given:
            source.credentials = vault.seal(given)
    elif "credentials" in values:
        source.credentials = ""


def _url(text: str) -> SourceUrl:
    url = parse_source_url(text, base=Path("/"))
    if url.clean.startswith("/") and not text.startswith("/"):
        raise SourceError(f"{text!r} is a relative path; give an absolute one, or a URL")
    return url


def _host(url: str) -> str:
    return urlsplit(url).netloc if "://" in url else url.partition(":")[0]


def _checked(field: str, check: Any, value: str) -> Any:
    try:
        return check(value)
    except SourceError as error:
        raise _invalid(field, str(error)) from None


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(message, fields=[{"field": f"body.{field}", "message": message}])


def _check_path(session: Session, source: SourceRow) -> None:
    taken = session.scalar(
        select(SourceRow.name).where(SourceRow.path == source.path, SourceRow.name != source.name)
    )
    if taken:
        raise Conflict(
            f"source {taken!r} is mounted at {source.path or 'the root of the tree'!r} already",
            hint="give each source a path of its own",
        )


def _flush(session: Session, source: SourceRow) -> None:
    try:
        session.flush()
    except IntegrityError:
        raise Conflict(
            f"another source took the name {source.name!r} or the path {source.path!r} just now"
        ) from None
