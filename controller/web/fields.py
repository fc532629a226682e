"""The kinds of values that requests hold, each with its limits, defined once."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

# Host and hostgroup names become Ansible's inventory names, file names and git trailers, so they
# are kept to what is harmless in each.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$"
_RESERVED = {"all", "ungrouped"}  # Ansible's own groups
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-/]{0,99}")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9_.\-/:@+]{0,200}")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_MOST_JSON = 65_536  # bytes
_DEEPEST_JSON = 32


def _one_line(value: str) -> str:
    """Refuse control and direction characters, which let one text look like another."""
    if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in value):
        raise ValueError("must not hold control, formatting or line-break characters")
    return value


def _text(value: str) -> str:
    if any(
        unicodedata.category(char) in ("Cc", "Cf", "Cs") and char not in "\n\t" for char in value
    ):
        raise ValueError("must not hold control or formatting characters")
    return value


def _no_dots_alone(value: str) -> str:
    if ".." in value:
        raise ValueError("must not hold '..'")
    return value


def _not_reserved(value: str) -> str:
    if value.lower() in _RESERVED or value.startswith("pf_"):
        raise ValueError("is a name of Ansible's or plugfleet's own; take another")
    return value


def holds_template(value: Any) -> bool:
    """Whether Ansible would evaluate something in a value on the control node.

    `#jinja2:` lets a text name delimiters of its own (ansible.template's JINJA2_OVERRIDE).
    """
    text = value if isinstance(value, str) else json.dumps(value)
    return any(sign in text for sign in ("{{", "{%", "{#", "#jinja2:"))


def plain_json(value: Any) -> Any:
    """Refuse what one of the databases, or a reader of its answers, could not take.

    Raises:
        ValueError: says what: NUL or half a Unicode pair, NaN or Infinity, too deep, too much.
    """
    pending = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if depth > _DEEPEST_JSON:
            raise ValueError(f"is nested more than {_DEEPEST_JSON} deep")
        if isinstance(item, dict):
            pending += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            pending += [(part, depth + 1) for part in item]
        elif isinstance(item, str) and _UNSTORABLE.search(item):
            raise ValueError("holds NUL or half of a Unicode pair")
        elif isinstance(item, float) and not math.isfinite(item):
            raise ValueError("holds NaN or Infinity, which JSON has not")
    if len(json.dumps(value)) > _MOST_JSON:
        raise ValueError(f"is more than {_MOST_JSON} bytes of JSON")
    return value


def _variables(value: dict[str, Any]) -> dict[str, Any]:
    for name in value:
        if not _VARIABLE.fullmatch(name) or len(name) > 200:
            raise ValueError(f"{name[:50]!r} is not a variable name")
    plain_json(value)
    return value


def _labels(value: dict[str, str]) -> dict[str, str]:
    for key, label in value.items():
        if not _LABEL_NAME.fullmatch(key):
            raise ValueError(f"{key[:50]!r} is not a label name (letters, digits, _ . - /)")
        if not _LABEL_VALUE.fullmatch(label):
            raise ValueError(f"label {key}: {label[:50]!r} may hold letters, digits and _.-/:@+")
    return value


HostName = Annotated[
    str,
    StringConstraints(pattern=NAME_PATTERN, max_length=253),
    AfterValidator(_no_dots_alone),
    AfterValidator(_not_reserved),
    Field(description="Name of a host.", examples=["web1.example.com"]),
]
HostgroupName = Annotated[
    str,
    StringConstraints(pattern=NAME_PATTERN, max_length=100),
    AfterValidator(_no_dots_alone),
    AfterValidator(_not_reserved),
    Field(description="Name of a hostgroup.", examples=["web"]),
]
# What a binding or a token may name: also Ansible's own group of all hosts.
AnyHostgroup = Annotated[
    str,
    StringConstraints(pattern=NAME_PATTERN, max_length=100),
    Field(description="Name of a hostgroup, or `all`.", examples=["web", "all"]),
]
Name = Annotated[
    str,
    StringConstraints(pattern=NAME_PATTERN, max_length=100),
    AfterValidator(_no_dots_alone),
    Field(description="A name: letters, digits, _ . and -."),
]
Line = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_one_line)]
Text = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_text)]
Variables = Annotated[
    dict[str, Any],
    AfterValidator(_variables),
    Field(description="Ansible variables.", examples=[{"ansible_user": "deploy"}]),
]
Labels = Annotated[
    dict[str, str],
    AfterValidator(_labels),
    Field(
        description="Labels, which label rules look at.", examples=[{"idc": "bj", "role": "web"}]
    ),
]
