"""What a launch may bring along, and what becomes of the rest.

Rules: `JobLaunchSerializer` and `SurveyJobTemplateMixin` of AWX (awx/api/serializers.py,
awx/main/models/mixins.py): a field whose `ask_..._on_launch` is off is ignored and named in
`ignored_fields`; survey answers are checked; variables that no survey asks for need
`ask_variables_on_launch`. What is the same as the template's own is neither taken nor ignored, and null is
nothing. What is taken is held against the template's own checks (`clean_forks`, MAX_FORKS).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tests.awx.kinds import ASKED
from tests.awx.store import Object, Refused

NO_REVISION = "Missing a revision to run due to failed project update."
_TEXTS = ("text", "textarea", "password")
_NUMBERS = {"integer": ("an integer", (int,)), "float": ("a numeric type", (int, float))}
_QUESTIONS = (*_TEXTS, *_NUMBERS, "multiplechoice", "multiselect")
_SAID: dict[type, str] = {bool: "boolean", str: "string"}
_CHOICES = {"job_type": ("run", "check")}
_MAX_FORKS = 200


def variables(value: Any) -> dict[str, Any]:
    """Variables that are given as an object, or as text in JSON or YAML.

    Raises:
        Refused: they are neither.
    """
    found = value
    if isinstance(value, str):
        try:
            found = yaml.safe_load(value) if value.strip() else {}
        except yaml.YAMLError:
            found = None
    if not isinstance(found or {}, dict):
        raise Refused(400, {"extra_vars": ["Cannot parse as JSON or YAML."]})
    return dict(found or {})


def accepted(
    template: Object, survey: Object, given: Mapping[str, Any]
) -> tuple[Object, dict[str, Any], dict[str, Any]]:
    """Fields and variables of a launch that count, and what is ignored of it.

    Raises:
        Refused: something is given that the template does not take, or a survey's answer is missing.
    """
    fields: Object = {}
    ignored: dict[str, Any] = {}
    for switch, name in ASKED.items():
        if name == "extra_vars" or given.get(name) is None:
            continue
        if name in _CHOICES and given[name] not in _CHOICES[name]:
            raise Refused(400, {name: [f'"{given[name]}" is not a valid choice.']})
        if template.get(switch):
            fields[name] = given[name]
            if name == "forks" and int(given[name]) > _MAX_FORKS:
                said = f"Maximum number of forks ({_MAX_FORKS}) exceeded."
                raise Refused(400, {"forks": [said]})
        elif given[name] != template.get(name):
            ignored[name] = given[name]
    told = variables(given.get("extra_vars"))
    questions = survey.get("spec", []) if template["survey_enabled"] else []
    errors = [error for question in questions for error in _faults(question, told)]
    if errors:
        raise Refused(400, {"variables_needed_to_start": errors})
    asked = {question["variable"] for question in questions}
    taken = {
        question["variable"]: question["default"]
        for question in questions
        if question.get("default") not in (None, "")
    }
    taken |= {
        k: v for k, v in told.items() if k in asked or template.get("ask_variables_on_launch")
    }
    own = variables(template.get("extra_vars"))
    if refused := {k: v for k, v in told.items() if k not in taken and (k, v) not in own.items()}:
        ignored["extra_vars"] = refused
    inventory = fields.get("inventory", template.get("inventory"))
    if not inventory and "playbook" in template:
        raise Refused(
            400, {"resources_needed_to_start": ["Job Template inventory is missing or undefined."]}
        )
    return fields, own | taken, ignored


def need_revision(project: Object) -> None:
    """Refuse to launch what has no project to run (`get_reason_if_failed` of Project, awx/main/models/projects.py).

    It stays so until somebody updates the project, also where it is updated on launch.

    Raises:
        Refused: the project's last update has failed.
    """
    if project["status"] in ("failed", "error"):
        raise Refused(400, {"playbook": [NO_REVISION]})


def _faults(question: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    """What is wrong with the answer to one question."""
    name, kind = question["variable"], question["type"]
    if name not in told:
        return [f"'{name}' value missing"] if question.get("required") else []
    value = told[name]
    if kind in _TEXTS:
        if not isinstance(value, str):
            return [f"Value {value} for '{name}' expected to be a string."]
        return _bounds(question, len(value), f"length is {len(value)} ")
    if kind in _NUMBERS:
        said, types = _NUMBERS[kind]
        if type(value) not in types:
            return [f"Value {value} for '{name}' expected to be {said}."]
        return _bounds(question, value, "")
    choices = question.get("choices") or []
    choices = choices.split("\n") if isinstance(choices, str) else choices
    if kind == "multiselect" and not isinstance(value, list):
        return [f"'{name}' value is expected to be a list."]
    chosen = value if kind == "multiselect" else [value]
    return [
        f"Value {one} for '{name}' expected to be one of {choices}."
        for one in chosen
        if one not in choices
    ]


def _bounds(question: Mapping[str, Any], size: float, said: str) -> list[str]:
    name = question["variable"]
    if question.get("min") not in ("", None) and size < float(question["min"]):
        return [f"'{name}' value is too small ({said}must be at least {question['min']})."]
    if question.get("max") not in ("", None) and size > float(question["max"]):
        return [f"'{name}' value is too large (must be no more than {question['max']})."]
    return []


def check_survey(spec: Any) -> Object:
    """A survey that AWX takes (awx/api/views, JobTemplateSurveySpec).

    Raises:
        Refused: it is not one.
    """
    if not isinstance(spec, dict):
        raise Refused(400, {"error": "survey_spec must be an object"})
    for name, kind in (("name", str), ("description", str), ("spec", list)):
        if name not in spec:
            raise Refused(400, {"error": f"'{name}' missing from survey spec."})
        if not isinstance(spec[name], kind):
            raise Refused(400, {"error": f"Expected {kind.__name__} for '{name}' field"})
    if not spec["spec"]:
        raise Refused(400, {"error": "'spec' doesn't contain any items."})
    seen = set()
    for place, question in enumerate(spec["spec"]):
        for name in ("type", "question_name", "variable", "required"):
            if name not in question:
                raise Refused(400, {"error": f"'{name}' missing from survey question {place}."})
            of: type = bool if name == "required" else str
            if not isinstance(question[name], of):
                said = f"'{name}' in survey question {place} expected to be {_SAID[of]}."
                raise Refused(400, {"error": said})
        if question["type"] not in _QUESTIONS:
            said = f"'{question['type']}' in survey question {place} is not one of the allowed question types."
            raise Refused(400, {"error": said})
        for name in ("min", "max"):
            if not isinstance(question.get(name), int | None):
                said = f"The {name} limit in survey question {place} expected to be integer."
                raise Refused(400, {"error": said})
        if question["variable"] in seen:
            raise Refused(
                400, {"error": f"'variable' '{question['variable']}' duplicated in survey question"}
            )
        seen.add(question["variable"])
        if question["type"] in ("multiplechoice", "multiselect") and not question.get("choices"):
            raise Refused(
                400,
                {"error": f"Survey question {place} of type {question['type']} must have choices"},
            )
        fault = (
            _faults({**question, "required": False}, {question["variable"]: question["default"]})
            if question.get("default") not in (None, "")
            else []
        )
        if fault:
            raise Refused(400, {"error": f"Default of question {place}: {fault[0]}"})
    return spec
