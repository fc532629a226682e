"""Every table of the controller in one place, for migrations and tests."""

from __future__ import annotations

from sqlalchemy import MetaData

from controller.agents import models as agents
from controller.audit import models as audit
from controller.auth import models as auth
from controller.bindings import models as bindings
from controller.catalog import models as catalog
from controller.database import counters
from controller.database.base import Base
from controller.deployments import models as deployments
from controller.fleet import models as fleet
from controller.plugins import models as plugins
from controller.portal import models as portal
from controller.schedules import models as schedules
from controller.web import models as web

__all__ = [
    "METADATA",
    "agents",
    "audit",
    "auth",
    "bindings",
    "catalog",
    "counters",
    "deployments",
    "fleet",
    "plugins",
    "portal",
    "schedules",
    "web",
]

METADATA: MetaData = Base.metadata
