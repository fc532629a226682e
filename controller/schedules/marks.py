"""How a schedule of ours looks in AWX, and how it is known there from everybody else's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.models import Token
from controller.deployments.schemas import DeploymentRequest
from controller.schedules.meaning import as_awx
from controller.schedules.models import Schedule
from controller.schedules.rules import parse

_MARK = re.compile(r"\[plugfleet schedule (\d{1,18}) of ([0-9a-f]{12})\]")


def installation(session: Session) -> str:
    """What tells this controller's database from another one that has schedules in the same AWX.

    Its first token stays in it for ever, and no other database has the same.
    """
    first = session.scalar(select(Token.digest).order_by(Token.id).limit(1))
    return hashlib.sha256(f"schedules of {first}".encode()).hexdigest()[:12]


def fields(row: Schedule, installed: str) -> dict[str, Any]:
    """What AWX's schedule is to be."""
    mark = f"[plugfleet schedule {row.id} of {installed}]"
    return {
        "name": name_of(row),
        "description": f"{row.description} {mark}".strip(),
        "rrule": _rule(row.rrule),
        "enabled": row.enabled,
        **as_awx(DeploymentRequest.model_validate(row.request)),
    }


def name_of(row: Schedule) -> str:
    """What AWX's schedule is called."""
    return f"plugfleet schedule {row.name}"


def read(found: Mapping[str, Any], installed: str) -> int | None:
    """The id of our schedule that AWX's is, or None where it is not ours."""
    # The last one: before it stands what somebody wrote.
    marks = _MARK.findall(str(found.get("description") or ""))
    return int(marks[-1][0]) if marks and marks[-1][1] == installed else None


def is_it(found: Mapping[str, Any], row: Schedule, url: str) -> bool:
    """Whether AWX's schedule is the one that was made for ours, if somebody took the mark from it."""
    same = row.awx_id is not None and row.awx_url == url and found.get("id") == row.awx_id
    return same and found.get("name") == name_of(row)


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What AWX has otherwise than it should be: its values, by field."""
    return {
        name: found.get(name)
        for name, value in wanted.items()
        if _plain(found.get(name)) != _plain(value)
    }


def told(differing: Mapping[str, Any], moment: datetime) -> str:
    """A sentence on what somebody had changed in AWX."""
    what = "it" if "removed" in differing else ", ".join(sorted(differing))
    done = "removed" if "removed" in differing else "changed"
    return f"somebody had {done} {what} in AWX; set right at {moment:%Y-%m-%d %H:%M:%S} UTC"


def job(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is kept of a job of AWX's, or None where that is none."""
    try:
        finished = found.get("finished")
        at = datetime.fromisoformat(str(finished)) if finished else None
        status = str(found["status"])[:50]
        return {"id": int(found["id"]), "status": status, "finished": at and at.isoformat()}
    except (KeyError, TypeError, ValueError):
        return None


def _rule(text: str) -> str:
    try:
        return parse(text).in_awx
    except ValueError:  # AWX may know a time zone that is not known here any more
        return text


def _plain(value: Any) -> Any:
    """A value as it is compared: AWX has None for nothing, and keeps the spaces of a rule."""
    return " ".join(value.split()) if isinstance(value, str) and value else value or None
