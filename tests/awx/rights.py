"""Who may do what: users with tokens or passwords, and roles on single objects.

As AWX has them (awx/main/access.py): an administrator may do everything; a role `Execute` on a job
template lets see it, launch it, and see and cancel the jobs that one has launched; `Read` lets see.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

from tests.awx.store import Object, Refused, Store

ADMIN = "admin"
_ROLES = {
    "job_templates": ["Admin", "Execute", "Read"],
    "workflow_job_templates": ["Admin", "Execute", "Read", "Approve"],
    "inventories": ["Admin", "Update", "Ad Hoc", "Use", "Read"],
    "projects": ["Admin", "Use", "Update", "Read"],
}
# What belongs to an object is seen by who sees the object.
_BELONGS = {
    "hosts": ("inventories", "inventory"),
    "groups": ("inventories", "inventory"),
    "inventory_sources": ("inventories", "inventory"),
    "schedules": ("job_templates", "unified_job_template"),
    "jobs": ("job_templates", "job_template"),
    "workflow_jobs": ("workflow_job_templates", "workflow_job_template"),
    "project_updates": ("projects", "project"),
}
_NOBODY = (
    "Authentication credentials were not provided. To establish a login session, visit /api/login/."
)


class Rights:
    """Users, their tokens and roles.

    Attributes:
        has_tokens: AWX has none any more after 24.6.1 (its pull request 15666).
        not_to_be_made: kind -> what AAP says of it, where its platform makes such objects.
    """

    def __init__(self, store: Store) -> None:
        self.has_tokens = True
        self.not_to_be_made: dict[str, str] = {}
        self._store = store
        self._tokens: dict[str, int] = {}
        self._passwords: dict[int, str] = {}
        self._roles: list[tuple[str, str, int]] = []  # a role's id is its place, from 1
        self._given: set[tuple[int, int]] = set()  # user, role
        self.password = secrets.token_urlsafe(12)
        admin = self.add_user({"username": ADMIN, "password": self.password, "is_superuser": True})
        self.token = self.new_token(admin["id"])

    def add_user(self, values: Object) -> Object:
        """A new user; the password is kept apart, as AWX shows only that there is one."""
        user = self._store.add("users", values | {"password": "$encrypted$"})
        self._passwords[user["id"]] = values["password"]
        return user

    def new_token(self, user: int) -> str:
        """A token of a user's own."""
        token = secrets.token_urlsafe(24)
        self._tokens[token] = user
        return token

    def revoke(self, token: str) -> None:
        """Make a token worthless."""
        del self._tokens[token]

    def user(self, header: str | None) -> Object:
        """Who sends a request.

        Raises:
            Refused: nobody that is known.
        """
        kind, _, value = (header or "").partition(" ")
        number = self._tokens.get(value) if kind == "Bearer" and self.has_tokens else None
        if kind == "Basic":
            name, _, password = base64.b64decode(value).decode("utf-8", "replace").partition(":")
            for found in self._store.find("users", username=name):
                if self._passwords[found["id"]] == password:
                    number = found["id"]
        known = self._store.find("users", id=number) if number else []
        if not known:
            raise Refused(401, {"detail": _NOBODY})
        return known[0]

    def object_roles(self, path: str, number: int) -> list[Object]:
        """The roles that an object has."""
        return [
            {"id": self._role(name, path, number), "type": "role", "name": name}
            for name in _ROLES.get(path, [])
        ]

    def give(self, user: int, role: int) -> None:
        """Give a user a role."""
        if not 1 <= role <= len(self._roles):
            raise Refused(400, {"id": [f'Invalid pk "{role}" - object does not exist.']})
        self._given.add((user, role))

    def has(self, user: Object, path: str, number: int, *names: str) -> bool:
        """Whether a user has one of the roles on an object; any role without names."""
        wanted = names or _ROLES.get(path, [])
        return bool(
            user["is_superuser"]
            or any((user["id"], self._role(name, path, number)) in self._given for name in wanted)
        )

    def may_read(self, user: Object, path: str, o: Object) -> bool:
        """Whether a user may see an object."""
        if user["is_superuser"] or (path == "users" and o["id"] == user["id"]):
            return True
        if o.get("is_sliced_job"):
            return self.has(user, "job_templates", o["job_template"])
        if path in _BELONGS:
            above, field = _BELONGS[path]
            return bool(o.get(field)) and self.has(user, above, o[field])
        return self.has(user, path, o["id"])

    def may_make(self, user: Object, path: str, of: Object) -> bool:
        """Whether a user may make an object below another: a schedule, with the role to launch its template."""
        if path == "schedules":
            return self.has(user, "job_templates", of["unified_job_template"], "Execute", "Admin")
        return bool(user["is_superuser"])

    def may_change(self, user: Object, path: str, o: Object) -> bool:
        """Whether a user may change or remove an object; schedules as `ScheduleAccess` has it."""
        if path == "schedules":
            roles = ["Admin"] + ["Execute"] * (o.get("_created_by") == user["id"])
            return self.has(user, "job_templates", o["unified_job_template"], *roles)
        return self.has(user, path, o["id"], "Admin")

    def may_cancel(self, user: Object, job: Object) -> bool:
        """Whether a user may cancel a job."""
        template = job.get("job_template") or 0
        return job.get("created_by") == user["id"] or self.has(
            user, "job_templates", template, "Admin"
        )

    def _role(self, name: str, path: str, number: int) -> int:
        role = (name, path, number)
        if role not in self._roles:
            self._roles.append(role)
        return self._roles.index(role) + 1


def need(allowed: Any) -> None:
    """Refuse what is not allowed.

    Raises:
        Refused: 403, in AWX's words.
    """
    if not allowed:
        raise Refused(403, {"detail": "You do not have permission to perform this action."})
