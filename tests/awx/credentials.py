"""What AWX takes as credential types, and as credentials of them.

Rules: awx/main/fields.py of AWX (`CredentialTypeInputField`, `CredentialTypeInjectorField`, `CredentialInputField`),
awx/main/validators.py (private keys), and the serializers of both kinds.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tests.awx.kinds import ENCRYPTED
from tests.awx.store import Object, Refused

Faults = dict[str, Any]
_NAME = re.compile(r"[a-zA-Z_]+[a-zA-Z0-9_]*")
_FILE = re.compile(r"template(\.[a-zA-Z_]+[a-zA-Z0-9_]*)?")
_EXTRA = re.compile(r"[a-zA-Z_{}]+[a-zA-Z0-9_{}]*")
_FIELD = {
    "id", "label", "type", "format", "choices", "help_text", "multiline", "secret", "ask_at_runtime",
    "default",
}  # fmt: skip
_OF_TEXTS = ("choices", "multiline", "format", "secret")
_KEY = re.compile(
    r"\s*-----BEGIN ((?:RSA |DSA |EC |OPENSSH |ENCRYPTED )?PRIVATE KEY)-----\s(.+?)\s-----END \1-----\s*",
    re.DOTALL,
)
_OPEN = b"openssh-key-v1\0\0\0\0\4none"


def _input(name: str, *, secret: bool = False, **more: Any) -> Object:
    return {"id": name, "label": name, "type": "string", "secret": secret, **more}


_LOGIN = [
    _input("username"),
    _input("password", secret=True),
    _input("ssh_key_data", secret=True, format="ssh_private_key", multiline=True),
    _input("ssh_key_unlock", secret=True),
]
_BECOME = [
    _input("ssh_public_key_data", secret=True),
    _input("become_method"),
    _input("become_username"),
    _input("become_password", secret=True),
]
_REGISTRY = [
    _input("host"),
    _input("username"),
    _input("password", secret=True),
    {"id": "verify_ssl", "label": "verify_ssl", "type": "boolean"},
]
MANAGED = [
    {"name": name, "kind": kind, "managed": True, "inputs": {"fields": fields}}
    for name, kind, fields in (
        ("Machine", "ssh", _LOGIN + _BECOME),
        ("Source Control", "scm", _LOGIN),
        ("Vault", "vault", [_input("vault_password", secret=True), _input("vault_id")]),
        ("Container Registry", "registry", _REGISTRY),
    )
]
"""AWX's own credential types, as far as plugfleet gives credentials of them."""


def secrets(kind: Object) -> set[str]:
    """Names of the inputs that AWX keeps secret."""
    return {field["id"] for field in kind["inputs"].get("fields", []) if field.get("secret")}


def faults_of_type(whole: Object) -> Faults:
    """What is wrong with a credential type; fills in what AWX does.

    Raises:
        Refused: 403, it is one of AWX's own.
    """
    if whole["managed"]:
        raise Refused(403, {"detail": "Modifications not allowed for managed credential types"})
    if whole["kind"] not in ("cloud", "net"):
        return {"kind": [f"Must be 'cloud' or 'net', not {whole['kind']}"]}
    if said := _input_faults(whole["inputs"]):
        return {"inputs": said}
    if said := _injector_faults(whole["injectors"], whole["inputs"]):
        return {"injectors": said}
    return {}


def _input_faults(inputs: Any) -> list[str]:
    if not isinstance(inputs, dict):
        return [f"{type(inputs).__name__} provided, expected dict"]
    if "dependencies" in inputs:
        return ["'dependencies' is not supported for custom credentials."]
    if unknown := set(inputs) - {"fields", "required"}:
        return [f"Additional properties are not allowed ({sorted(unknown)})"]
    seen = set()
    for field in inputs.get("fields", []):
        if not isinstance(field, dict):
            return ["provided in relative path ['fields'], expected dict"]
        if missing := sorted({"id", "label"} - set(field)):
            return [f"'{missing[0]}' is a required property"]
        if further := sorted(set(field) - _FIELD):
            said = f"Additional properties are not allowed ('{further[0]}' was unexpected)"
            return [f"Schema validation error in relative path ['fields'] ({said})"]
        if not _NAME.fullmatch(field["id"]):
            return [f"{field['id']} is an invalid variable name"]
        if field["id"] == "tower":
            return ['"tower" is a reserved field name']
        if field["id"] in seen:
            return [f"field IDs must be unique ({field['id']})"]
        seen.add(field["id"])
        kind = field.setdefault("type", "string")
        if kind not in ("string", "boolean"):
            return [f"'{kind}' is not one of ['string', 'boolean']"]
        if "default" in field and type(field["default"]) is not {"string": str}.get(kind, bool):
            return [f"{field['default']} is not a {kind}"]
        if wrong := [key for key in _OF_TEXTS if key in field and kind != "string"]:
            return [f"{wrong[0]} not allowed for {kind} type ({field['id']})"]
        if field.get("ask_at_runtime"):
            return ["'ask_at_runtime' is not supported for custom credentials."]
    return []


def _injector_faults(injectors: Any, inputs: Mapping[str, Any]) -> list[str]:
    names = {"file": _FILE, "env": _NAME, "extra_vars": _EXTRA}
    if not isinstance(injectors, dict) or not set(injectors) <= set(names):
        return [f"Additional properties are not allowed ({injectors})"]
    known: dict[str, Any] = {field["id"]: "EXAMPLE" for field in inputs.get("fields", [])}
    # A file's name is there only where a file is written.
    known["tower"] = {"filename": "EXAMPLE"} if "template" in injectors.get("file", {}) else {}
    for kind, given in injectors.items():
        if not isinstance(given, dict):
            return [f"{type(given).__name__} provided in relative path ['{kind}'], expected dict"]
        for name, template in given.items():
            if not names[kind].fullmatch(name):
                return [f"Schema validation error in relative path ['{kind}'] ({name})"]
            if kind == "env" and name.startswith("ANSIBLE_"):
                said = "may affect Ansible configuration so its use is not allowed in credentials."
                return [f"Environment variable {name} {said}"]
            if not isinstance(template, str) or (kind == "env" and not template.isascii()):
                return [f"{template!r} is not valid under any of the given schemas"]
            try:
                env = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
                env.from_string(template).render(known)
            except UndefinedError as error:
                return [f"{name} uses an undefined field ({error})"]
            except TemplateError as error:
                return [f"Syntax error rendering template for {name} inside of {kind} ({error})"]
    return []


def faults(kind: Object, inputs: Any, kept: Mapping[str, Any] | None) -> Faults:
    """What is wrong with a credential's inputs.

    Args:
        kept: the inputs that it has; None where it is a new one.
    """
    if not isinstance(inputs, dict):
        return {"inputs": [f"{type(inputs).__name__} provided, expected dict"]}
    known = {field["id"]: field for field in kind["inputs"].get("fields", [])}
    if unknown := sorted(set(inputs) - set(known)):
        said = ", ".join(f"'{name}'" for name in unknown)
        return {"inputs": [f"Additional properties are not allowed ({said} was unexpected)"]}
    found: dict[str, list[str]] = {}
    whole: Object = {}
    for name, value in inputs.items():
        if value == ENCRYPTED and name in secrets(kind) and kept is None:
            said = f"{ENCRYPTED} is a reserved keyword, and cannot be used for {name}."
            return {"inputs": [said]}
        whole[name] = (kept or {}).get(name) if value == ENCRYPTED else value
        # null counts as nothing.
        expected = {"string": str, "boolean": bool}[known[name]["type"]]
        if whole[name] is not None and not isinstance(whole[name], expected):
            found[name] = [f"{value!r} is not of type '{known[name]['type']}'"]
    if not found and whole.get("ssh_key_data") and kind["managed"]:
        found = _key_faults(whole["ssh_key_data"], bool(whole.get("ssh_key_unlock")))
    return {"inputs": found} if found else {}


def _key_faults(key: str, unlocked: bool) -> dict[str, list[str]]:
    match = _KEY.fullmatch(key)
    if not match:
        return {"ssh_key_data": [f"Invalid certificate or key: {key[:100]}..."]}
    lines = [line for line in match[2].splitlines() if ":" not in line]
    try:
        content = base64.b64decode("".join(lines))
    except binascii.Error:
        return {"ssh_key_data": ["Invalid base64-encoded data"]}
    locked = "ENCRYPTED" in match[0]
    if match[1].startswith("OPENSSH"):
        locked = not content.startswith(_OPEN)
    if locked and not unlocked:
        return {"ssh_key_unlock": ["must be set when SSH key is encrypted."]}
    if unlocked and not locked:
        return {"ssh_key_unlock": ["should not be set when SSH key is not encrypted."]}
    return {}
