"""What kinds of objects AWX's API has: their fields, what must be given, what must be unique.

Field names and defaults are those of `/api/v2/` (awx/api/serializers.py, awx/main/models in the
ansible/awx repository); of each kind only the fields that plugfleet gives or reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ENCRYPTED = "$encrypted$"


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    Attributes:
        path: its name in URLs, e.g. `job_templates`.
        fields: field -> value where none is given.
        required: fields that a POST must have.
        refers: field -> path of the kind whose id it holds.
        unique: fields of which no two objects may have the same values.
        shared_ids: kinds of the same word number their objects together.
        parent: field -> the kind below whose objects these are listed, as path and sub-path.
        many: sub-paths that link to objects of another kind.
    """

    path: str
    fields: Mapping[str, Any]
    required: tuple[str, ...] = ("name",)
    refers: Mapping[str, str] = field(default_factory=dict)
    unique: tuple[str, ...] = ("name",)
    shared_ids: str = ""
    parent: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    many: Mapping[str, str] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """What its objects say of themselves, e.g. `job_template`."""
        return re.sub("ies$", "y", self.path).removesuffix("s")

    @property
    def label(self) -> str:
        """As error messages name it, e.g. `Job Template`."""
        return self.type.replace("_", " ").title()


_NOTIFICATIONS = {
    f"notification_templates_{when}": "notification_templates"
    for when in ("started", "success", "error", "approvals")
}
_NAMED = {"name": "", "description": ""}
_SCM = {"scm_type": "", "scm_url": "", "scm_branch": "", "scm_clean": False, "scm_revision": ""}
_RUN_STATE = {"status": "never updated", "last_job_run": None, "last_job_failed": False}
# Each switch and the field of a launch that it lets in (awx/main/models/jobs.py, AskForField).
ASKED = {
    "ask_variables_on_launch": "extra_vars",
    "ask_limit_on_launch": "limit",
    "ask_job_type_on_launch": "job_type",
    "ask_diff_mode_on_launch": "diff_mode",
    "ask_forks_on_launch": "forks",
    "ask_inventory_on_launch": "inventory",
    "ask_credential_on_launch": "credentials",
    "ask_tags_on_launch": "job_tags",
    "ask_skip_tags_on_launch": "skip_tags",
    "ask_verbosity_on_launch": "verbosity",
    "ask_scm_branch_on_launch": "scm_branch",
    "ask_timeout_on_launch": "timeout",
    "ask_job_slice_count_on_launch": "job_slice_count",
    "ask_execution_environment_on_launch": "execution_environment",
}
_JOB = {
    "job_type": "run",
    "inventory": None,
    "project": None,
    "playbook": "",
    "limit": "",
    "forks": 0,
    "verbosity": 0,
    "extra_vars": "",
    "job_tags": "",
    "skip_tags": "",
    "timeout": 0,
    "diff_mode": False,
    "scm_branch": "",
    "job_slice_count": 1,
    "execution_environment": None,
}
_WORKFLOW_ASKED = ("ask_variables_on_launch", "ask_limit_on_launch", "ask_inventory_on_launch")


def _within(
    field_: str,
    path: str,
    fields: Mapping[str, Any],
    *,
    required: tuple[str, ...] = ("name",),
    refers: Mapping[str, str] | None = None,
    parent: Mapping[str, tuple[str, str]] | None = None,
    **more: Any,
) -> Kind:
    """A kind whose objects belong to an organisation or inventory, and are named apart there."""
    above = {"organization": "organizations", "inventory": "inventories"}[field_]
    return Kind(
        path,
        {**_NAMED, field_: None, **fields},
        required=required,
        refers={field_: above, **(refers or {})},
        parent={field_: (above, path), **(parent or {})},
        **{"unique": (field_, "name"), **more},
    )


_OWNED = ("name", "organization")
_HELD = ("name", "inventory")
_ALL = [
    Kind("organizations", _NAMED, many=_NOTIFICATIONS),
    _within("organization", "teams", {}, required=_OWNED),
    Kind(
        "users",
        {"username": "", "password": "", "is_superuser": False, "email": ""},
        required=("username", "password"),
        unique=("username",),
    ),
    Kind(
        "credential_types",
        {**_NAMED, "kind": "cloud", "managed": False, "inputs": {}, "injectors": {}},
        unique=("name", "kind"),
    ),
    _within(
        "organization",
        "credentials",
        {"credential_type": None, "inputs": {}},
        required=("name", "credential_type"),
        refers={"credential_type": "credential_types"},
        parent={"credential_type": ("credential_types", "credentials")},
        unique=("organization", "name", "credential_type"),
    ),
    Kind(
        "execution_environments",
        {**_NAMED, "organization": None, "image": "", "credential": None, "pull": ""},
        required=("name", "image"),
        refers={"organization": "organizations", "credential": "credentials"},
    ),
    _within(
        "organization",
        "projects",
        {
            **_SCM,
            **_RUN_STATE,
            "credential": None,
            "local_path": "",
            "scm_update_on_launch": False,
            "scm_update_cache_timeout": 0,
            "allow_override": False,
            "default_environment": None,
            "timeout": 0,
        },
        refers={"credential": "credentials", "default_environment": "execution_environments"},
        shared_ids="templates",
        many=_NOTIFICATIONS,
    ),
    _within(
        "organization",
        "inventories",
        {"kind": "", "variables": "", "total_hosts": 0, "pending_deletion": False},
        required=_OWNED,
    ),
    _within("inventory", "hosts", {"enabled": True, "variables": ""}, required=_HELD),
    _within(
        "inventory",
        "groups",
        {"variables": ""},
        required=_HELD,
        many={"hosts": "hosts", "children": "groups"},
    ),
    _within(
        "inventory",
        "inventory_sources",
        {
            **_RUN_STATE,
            "source": "scm",
            "source_project": None,
            "source_path": "",
            "source_vars": "",
            "credential": None,
            "overwrite": False,
            "overwrite_vars": False,
            "update_on_launch": False,
            "update_cache_timeout": 0,
            "timeout": 0,
            "verbosity": 1,
            "execution_environment": None,
        },
        required=_HELD,
        refers={
            "source_project": "projects",
            "credential": "credentials",
            "execution_environment": "execution_environments",
        },
        shared_ids="templates",
        many=_NOTIFICATIONS,
    ),
    Kind(
        "job_templates",
        {
            **_NAMED,
            **_JOB,
            "organization": None,
            "survey_enabled": False,
            "allow_simultaneous": False,
            "use_fact_cache": False,
            "become_enabled": False,
            "webhook_service": "",
            **dict.fromkeys(ASKED, False),
        },
        required=("name", "project", "playbook"),
        refers={
            "organization": "organizations",
            "inventory": "inventories",
            "project": "projects",
            "execution_environment": "execution_environments",
        },
        unique=("name", "organization"),
        shared_ids="templates",
        many={"credentials": "credentials", **_NOTIFICATIONS},
    ),
    _within(
        "organization",
        "workflow_job_templates",
        {
            "inventory": None,
            "limit": "",
            "extra_vars": "",
            "survey_enabled": False,
            "allow_simultaneous": False,
            **dict.fromkeys(_WORKFLOW_ASKED, False),
        },
        refers={"inventory": "inventories"},
        shared_ids="templates",
        many=_NOTIFICATIONS,
    ),
    Kind(
        "workflow_approval_templates",
        {**_NAMED, "timeout": 0},
        unique=(),
        shared_ids="templates",
    ),
    Kind(
        "workflow_job_template_nodes",
        {
            "identifier": "",
            "workflow_job_template": None,
            "unified_job_template": None,
            "extra_data": {},
            "inventory": None,
            "limit": None,
            "job_type": None,
            "diff_mode": None,
            "all_parents_must_converge": False,
        },
        required=("workflow_job_template",),
        refers={"workflow_job_template": "workflow_job_templates", "inventory": "inventories"},
        unique=("identifier", "workflow_job_template"),
        parent={"workflow_job_template": ("workflow_job_templates", "workflow_nodes")},
        many={
            f"{when}_nodes": "workflow_job_template_nodes"
            for when in ("success", "failure", "always")
        },
    ),
    Kind(
        "schedules",
        {
            **_NAMED,
            "rrule": "",
            "enabled": True,
            "unified_job_template": None,
            "extra_data": {},
            "inventory": None,
            "limit": None,
            "job_type": None,
            "diff_mode": None,
            "next_run": None,
            "timezone": "UTC",
        },
        required=("name", "rrule", "unified_job_template"),
        refers={"inventory": "inventories"},
        unique=("unified_job_template", "name"),
        parent={"unified_job_template": ("job_templates", "schedules")},
    ),
    _within(
        "organization",
        "notification_templates",
        {"notification_type": "", "notification_configuration": {}, "messages": None},
        required=(*_OWNED, "notification_type"),
    ),
    *(
        Kind(path, fields, required=(), unique=(), shared_ids="jobs", parent=parent)
        for path, fields, parent in (
            (
                "jobs",
                _JOB,
                {"job_template": ("job_templates", "jobs"), "schedule": ("schedules", "jobs")},
            ),
            (
                "workflow_jobs",
                {},
                {"workflow_job_template": ("workflow_job_templates", "workflow_jobs")},
            ),
            ("workflow_approvals", {}, {}),
            ("project_updates", {}, {"project": ("projects", "project_updates")}),
            (
                "inventory_updates",
                {},
                {"inventory_source": ("inventory_sources", "inventory_updates")},
            ),
        )
    ),
    Kind(
        "workflow_job_nodes",
        {},
        required=(),
        unique=(),
        parent={"workflow_job": ("workflow_jobs", "workflow_nodes")},
    ),
]
KINDS = {kind.path: kind for kind in _ALL}
# Objects of these come from launches and updates, never from a POST of their own.
RUNS = {kind.path for kind in _ALL if kind.shared_ids == "jobs"} | {"workflow_job_nodes"}
# What a client cannot set.
READ_ONLY = {
    "id", "type", "url", "created", "modified", "related", "summary_fields", "status", "managed",
    "last_job_run", "last_job_failed", "next_run", "timezone", "total_hosts", "pending_deletion",
    "scm_revision",
}  # fmt: skip
# What is taken for a new object and not heeded later, by kind (`build_relational_field` of the serializers).
FIXED = {
    "inventory_sources": {"inventory"},
    "hosts": {"inventory"},
    "groups": {"inventory"},
    "workflow_job_template_nodes": {"workflow_job_template"},
}
# Fields with a choice of values (`choices` of awx/main/models).
CHOICES: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "job_templates": {"job_type": ("run", "check")},
    "execution_environments": {"pull": ("", None, "always", "missing", "never")},
    "projects": {"scm_type": ("", "git", "svn", "insights", "archive")},
}
# Kinds that `unified_job_template` may mean.
TEMPLATES = tuple(kind.path for kind in _ALL if kind.shared_ids == "templates")
