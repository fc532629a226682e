"""Objects that are made, changed and shown: what AWX checks, and what it hides.

Rules: awx/api/serializers.py (validate methods; secrets are shown as `$encrypted$`).
"""

from __future__ import annotations

from typing import Any

from tests.awx import credentials, notifications, rrules, texts
from tests.awx.jobs import Jobs
from tests.awx.kinds import CHOICES, ENCRYPTED, FIXED, KINDS, READ_ONLY
from tests.awx.launching import accepted
from tests.awx.rights import Rights
from tests.awx.store import Object, Refused, Store, conflict, moment

ROOT = "/api/v2/"
# A change of one of these lets AWX fetch a project again (`FIELDS_TRIGGER_UPDATE` of awx/main/models/projects.py).
_FETCHED = ("scm_type", "scm_url", "scm_branch")


class Objects:
    """Makes, changes and shows objects.

    Attributes:
        looks_at_texts: names and texts are held against rules of their own.
    """

    looks_at_texts = False

    def __init__(self, store: Store, rights: Rights, jobs: Jobs) -> None:
        self._store = store
        self._rights = rights
        self._jobs = jobs

    def create(self, kind: str, body: Object) -> Object:
        """Make an object.

        Raises:
            Refused: 400, with what is wrong at each field.
        """
        values = self.checked(kind, body, None)
        if kind == "users":
            return self._rights.add_user(values)
        made = self._store.add(kind, values)
        if kind in ("job_templates", "workflow_job_templates"):
            made["_survey"] = {}
        if kind == "schedules":
            self.plan(made)
        if kind == "projects" and made["scm_type"]:
            self._jobs.update_project(made)
        return made

    def change(self, kind: str, found: Object, body: Object) -> None:
        """Change an object; `$encrypted$` keeps a secret as it is.

        Raises:
            Refused: 400, with what is wrong at each field.
        """
        values = self.checked(kind, body, found)
        for secret in ("inputs", "notification_configuration"):
            given = values.get(secret)
            if isinstance(given, dict):
                kept = found.get(secret) or {}
                values[secret] = {k: kept.get(k) if v == ENCRYPTED else v for k, v in given.items()}
        moved = [name for name in _FETCHED if name in values and values[name] != found[name]]
        found |= values
        found["modified"] = moment()
        if kind == "projects" and moved and found["scm_type"]:
            self._jobs.update_project(found)
        if kind == "schedules":
            self.plan(found)

    def checked(self, path: str, body: Object, found: Object | None) -> Object:
        """Values that may be taken over.

        Raises:
            Refused: 400, with what is wrong at each field.
        """
        kind = KINDS[path]
        ignored = READ_ONLY | (FIXED.get(path, set()) if found else set())
        values = {k: v for k, v in body.items() if k in kind.fields and k not in ignored}
        if path == "job_templates":
            values.pop("organization", None)
        errors: dict[str, Any] = {
            name: [f'"{values[name]}" is not a valid choice.']
            for name, choices in CHOICES.get(path, {}).items()
            if name in values and values[name] not in choices
        }
        if self.looks_at_texts:
            errors |= texts.faults(values)
        for name in kind.required:
            if found is None and name not in values:
                errors[name] = ["This field is required."]
            elif name in values and values[name] == "":
                errors[name] = ["This field may not be blank."]
        for name, other in kind.refers.items():
            if values.get(name) is not None and name not in errors:
                try:
                    self._store.get(other, values[name])
                except Refused:
                    errors[name] = [f'Invalid pk "{values[name]}" - object does not exist.']
        notifies = {**(found or {}), **values}.get("notification_type")
        if notifies and (found is None or "notification_configuration" in values):
            given = values.get("notification_configuration")
            values["notification_configuration"] = notifications.completed(notifies, given)
        if path == "schedules" and values.get("rrule") and not rrules.faults(values["rrule"]):
            values["rrule"] = rrules.kept(values["rrule"])
        if path == "job_templates" and values.get("project") and "project" not in errors:
            # A job template belongs to its project's organisation.
            project = self._store.get("projects", values["project"])
            values["organization"] = project["organization"]
        whole = {**(found or kind.fields), **values}
        if not errors:
            errors = self._faults(path, whole, values, found)
        if errors:
            raise Refused(400, errors)
        conflict(self._store, kind, whole, found["id"] if found else None)
        return values

    def _faults(
        self, path: str, whole: Object, values: Object, found: Object | None
    ) -> dict[str, Any]:
        """What is wrong with an object beyond single fields."""
        match path:
            case "schedules":
                said = rrules.faults(whole["rrule"])
                return {"rrule": said} if said else self._prompts(whole)
            case "workflow_job_template_nodes":
                return self._prompts(whole)
            case "job_templates":
                return self._template_faults(whole)
            case "credential_types":
                return self._type_faults(whole, values, found)
            case "credentials":
                if found is None and not whole["organization"]:
                    return {"detail": ["Missing 'user', 'team', or 'organization'."]}
                of = self._store.get("credential_types", whole["credential_type"])
                return credentials.faults(of, whole["inputs"], found["inputs"] if found else None)
            case "inventory_sources":
                return self._source_faults(whole)
            case "projects":
                return self._project_faults(whole)
            case "execution_environments":
                return self._image_faults(whole, found)
            case "notification_templates" if "notification_configuration" in values:
                configuration = whole["notification_configuration"]
                return notifications.faults(whole["notification_type"], configuration)
        return {}

    def _type_faults(self, whole: Object, values: Object, found: Object | None) -> dict[str, Any]:
        said = credentials.faults_of_type(whole)
        changes = found and values.get("inputs", found["inputs"]) != found["inputs"]
        if (
            found
            and changes
            and not said
            and self._store.find("credentials", credential_type=found["id"])
        ):
            told = "Modifications to inputs are not allowed for credential types that are in use"
            raise Refused(403, {"detail": told})
        return said

    def _source_faults(self, whole: Object) -> dict[str, list[str]]:
        if whole["source"] == "scm" and not whole["source_project"]:
            return {"source_project": ["Project required for scm type sources."]}
        if whole["credential"] and self._kind_of(whole["credential"]) in ("insights", "vault"):
            # As `InventorySource.cloud_credential_validation`.
            said = (
                "Credentials of type insights and vault are disallowed for scm inventory sources."
            )
            return {"credential": [said]}
        return {}

    def _image_faults(self, whole: Object, found: Object | None) -> dict[str, list[str]]:
        if found and whole["organization"] not in (None, found["organization"]):
            said = "Cannot change the organization of an execution environment"
            return {"organization": [said]}
        if whole["credential"] and self._kind_of(whole["credential"]) != "registry":
            said = "Only Container Registry credentials can be associated with an Execution Environment"
            return {"credential": [said]}
        return {}

    def _project_faults(self, whole: Object) -> dict[str, list[str]]:
        if whole["scm_type"] and not whole["scm_url"]:
            return {"scm_url": ["SCM URL is required."]}
        if whole["credential"] and self._kind_of(whole["credential"]) != "scm":
            return {"credential": ["Credential kind must be 'scm'."]}
        return {}

    def _kind_of(self, credential: int) -> str:
        of = self._store.get("credentials", credential)["credential_type"]
        return str(self._store.get("credential_types", of)["kind"])

    def _template_faults(self, whole: Object) -> dict[str, list[str]]:
        if not self._store.find("projects", id=whole["project"]):
            return {}
        offered = self._store.get("projects", whole["project"]).get("_playbooks", [])
        if whole["playbook"] not in offered:
            return {"playbook": ["Playbook not found for project."]}
        if not whole["inventory"] and not whole["ask_inventory_on_launch"]:
            said = "You must either set a default value or ask to prompt on launch."
            return {"inventory": [said]}
        return {}

    def _prompts(self, whole: Object) -> dict[str, list[str]]:
        """What a schedule or node brings along must be asked for by its template."""
        number = whole["unified_job_template"]
        if not number:
            return {}
        path, template = self._store.template(number)
        if path not in ("job_templates", "workflow_job_templates"):
            return {}
        given = {name: whole[name] for name in ("limit", "job_type", "diff_mode") if whole[name]}
        try:
            _, _, ignored = accepted(
                {**template, "inventory": template["inventory"] or 1},
                template["_survey"],
                {**given, "extra_vars": whole["extra_data"]},
            )
        except Refused as refused:
            return dict(refused.body)
        said = "Field is not configured to prompt on launch."
        found = {name: [said] for name in ignored if name != "extra_vars"}
        if "extra_vars" in ignored:
            names = ", ".join(ignored["extra_vars"])
            found["extra_data"] = [
                f"Variables {names} are not allowed on launch. Check the Prompt on Launch setting on "
                "the Job Template to include Extra Variables."
            ]
        return found

    def plan(self, schedule: Object) -> None:
        """Note when a schedule falls due next."""
        coming = rrules.occurrences(schedule["rrule"])
        schedule["next_run"] = coming[0].isoformat() if coming else None
        schedule["timezone"] = rrules.zone(schedule["rrule"])

    def shown(self, path: str, found: Object) -> Object:
        """An object as a client sees it."""
        seen = public(found) | {"url": f"{ROOT}{path}/{found['id']}/", "related": {}}
        if path == "credentials":
            kind = self._store.get("credential_types", found["credential_type"])
            seen["inputs"] = _masked(found["inputs"], credentials.secrets(kind))
        if path == "notification_templates":
            seen["notification_configuration"] = _masked(
                found["notification_configuration"], {"password", "token"}
            )
        if path == "jobs":
            events = self._jobs.events(found["id"])
            seen["event_processing_finished"] = not self._jobs.is_active(found) and events.finished
        if path == "workflow_job_template_nodes":
            for sub in KINDS[path].many:
                seen[sub] = list(self._store.linked(path, found["id"], sub))
        if path == "inventories":
            seen["total_hosts"] = len(self._store.find("hosts", inventory=found["id"]))
        seen["summary_fields"] = self._summary(path, found)
        return seen

    def _summary(self, path: str, found: Object) -> Object:
        summary: Object = {}
        for name, other in KINDS[path].refers.items():
            if found.get(name):
                named = self._store.get(other, found[name])
                summary[name] = {"id": named["id"], "name": named.get("name", "")}
        if found.get("_last"):
            summary["last_job"] = summary["last_update"] = found["_last"]
        if found.get("unified_job_template"):
            kind, template = self._store.template(found["unified_job_template"])
            summary["unified_job_template"] = {
                "id": template["id"],
                "name": template["name"],
                "description": template["description"],
                "unified_job_type": {
                    "job_templates": "job",
                    "workflow_approval_templates": "workflow_approval",
                    "workflow_job_templates": "workflow_job",
                }.get(kind, ""),
            }
        if path in ("credentials", "job_templates", "inventories", "projects"):
            summary["user_capabilities"] = {}
        return summary


def public(found: Object) -> Object:
    """What of an object is not the stand-in's own."""
    return {name: value for name, value in found.items() if not name.startswith("_")}


def _masked(values: Any, secret: set[str]) -> Object:
    return {k: ENCRYPTED if k in secret and v else v for k, v in dict(values or {}).items()}


def not_allowed(method: str) -> Refused:
    """What a method gets that there is not."""
    return Refused(405, {"detail": f'Method "{method}" not allowed.'})
