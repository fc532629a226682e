"""What a dead controller left behind: one deployment that cannot be ended holds up nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from controller.deployments import recovery
from controller.deployments.models import ControllerRow, Deployment
from controller.errors import Unavailable
from controller.web.deps import Context
from tests.controller.deployments.conftest import Fleet, sqlite_only

_DEAD = 99


def _never(deployment_id: int, why: str) -> None:
    raise AssertionError("AWX had nothing to do with it")


@pytest.fixture
def left(fleet: Fleet) -> Fleet:
    """Two deployments of a dead controller."""
    fleet.publish()
    with fleet.database.write() as session:
        session.add(ControllerRow(id=_DEAD, name="dead"))
        session.flush()
        for number in (1, 2):
            session.add(Deployment(id=number, release=1, status="running", claimed_by=_DEAD))
    return fleet


def _breaks(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the first deployment be impossible to end."""
    end = recovery.end_deployment

    def broken(
        settings: Any, database: Any, vault: Any, deployment_id: int, why: str, *, patience: float
    ) -> None:
        if deployment_id == 1:
            raise error
        end(settings, database, vault, deployment_id, why, patience=patience)

    monkeypatch.setattr(recovery, "end_deployment", broken)


def _states(fleet: Fleet) -> tuple[str, str, bool]:
    """The two deployments, and whether the controller is done with."""
    with fleet.database.read() as session:
        one, two = (session.get_one(Deployment, number).status for number in (1, 2))
        return one, two, session.get_one(ControllerRow, _DEAD).ended is not None


@sqlite_only
def test_what_cannot_be_ended_holds_up_no_other_and_is_tried_again(
    left: Fleet, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        _breaks(patched, ValueError("its words cannot be read"))
        recovery.recover(left.settings, left.database, context.vault, _DEAD, _never)
    assert _states(left) == ("running", "interrupted", False)
    recovery.recover(left.settings, left.database, context.vault, _DEAD, _never)
    assert _states(left) == ("interrupted", "interrupted", True)


@sqlite_only
def test_a_database_that_goes_away_meanwhile_is_waited_for(
    left: Fleet, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    _breaks(monkeypatch, Unavailable("the database does not answer"))
    with pytest.raises(Unavailable):
        recovery.recover(left.settings, left.database, context.vault, _DEAD, _never)
    assert _states(left) == ("running", "running", False)
