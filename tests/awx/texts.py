"""Which names and texts an AWX takes that is set to look at them.

Rules: `CleanTextMixin` of ansible/django-ansible-base, which AWX's serializers have since September 2026 (its pull
request 16635); it refuses only with `ENHANCED_INPUT_VALIDATION_ENABLED`, which is off by default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Letters are those of any script.
_NAME = re.compile(r"\w[\w .@-]{0,511}")
_UNSAFE = re.compile(
    r"</?[a-z!]|(?:javascript|vbscript)\s*:|\$\(|\$\{|\{\{|\{%|[\x00-\x08\x0b-\x1f\x7f-\x9f]",
    re.IGNORECASE,
)
# What may hold templates and secrets (`excluded_fields` of the serializers).
_LEFT_OUT = {
    "password",
    "variables",
    "extra_vars",
    "extra_data",
    "source_vars",
    "inputs",
    "injectors",
    "notification_configuration",
    "messages",
}


def faults(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is wrong with the texts of an object."""
    found = {}
    for name, value in values.items():
        if name in _LEFT_OUT or not isinstance(value, str) or not value:
            continue
        if name == "name" and not _NAME.fullmatch(value):
            said = "May only contain letters, numbers, spaces, hyphens, underscores, dots, and @."
            found[name] = [said]
        elif name != "name" and _UNSAFE.search(value):
            found[name] = ["Contains a pattern that is not allowed."]
    return found
