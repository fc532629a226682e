"""Making what a run says fit to keep: no secret's value, no character that a database refuses.

Values are found wherever they stand. What has no value that could be looked for (a short one, a
number, the one that a secret had until it was changed) is found by the key that it stands at in JSON,
which is what the agents' configuration files are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.auth.vault import Vault
from controller.bindings.models import BindingRow, OverrideRow
from controller.bindings.places import key_of
from controller.fleet.models import Host, Hostgroup

HIDDEN = "********"
# Shorter ones would hide parts of harmless words and numbers: they are hidden by their keys alone.
_SHORTEST = 4
_SHORTEST_NUMBER = 6  # "2024" and "8080" stand in much that is no secret
_DEEPEST = 50  # lists and mappings in one another
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Keys whose values are nobody's business, also where a secret of that name is no longer there.
_TELLING = r"\w*(?:passw(?:or)?d|passphrase|secret|token|credential|private_?key|api_?key)s?"
_PAIR = re.compile(r'(?<!\\)"((?:[^"\\]|\\.)*)"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*)')
_OF_A_VISIT = frozenset(
    [
        "before",
        "after",
        "before_header",
        "after_header",
        "prepared",
        "diff",
        "warnings",
        "steps",
        "step",
        "changed",
        "failed",
        "unreachable",
        "skipped",
        "needed",
        "msg",
        "code",
        "seconds",
        "play",
        "task",
        "duration",
        "stdout",
        "host",
        "hosts",
    ]
)
_DECODER = json.JSONDecoder()


class Cleaner:
    """Cleans texts and plain data that holds texts.

    Args:
        secrets: texts and numbers that must not be kept.
        keys: names whose values in JSON must not be kept, whatever they are.
    """

    def __init__(self, secrets: Iterable[str | float], keys: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        digits: set[str] = set()
        for secret in secrets:
            if not isinstance(secret, str):
                if len(text := json.dumps(secret)) >= _SHORTEST_NUMBER:
                    digits.add(text)
                continue
            # Lines of a key are secrets too, and a secret may stand inside of JSON text.
            for part in {secret, *secret.splitlines()}:
                if len(part.strip()) >= _SHORTEST:
                    (digits if part.isdecimal() else forms).update({part, json.dumps(part)[1:-1]})
        longest_first = sorted(forms, key=len, reverse=True)
        parts = [re.escape(form) for form in longest_first]
        # A number within a longer one is another number.
        parts += [rf"(?<!\d)(?<!\d\.){re.escape(form)}(?!\.?\d)" for form in sorted(digits)]
        self._secrets = re.compile("|".join(parts)) if parts else None
        self._names = frozenset(keys)
        self._telling = re.compile(_TELLING, re.IGNORECASE)
        self._keyed = _keyed(self._names)

    def text(self, value: str) -> str:
        """A text without colours, secrets, NUL (PostgreSQL), and halves of Unicode pairs."""
        return self._text(value, self._keyed)

    def data(self, value: Any, depth: int = 0) -> Any:
        """Plain data with every text in it cleaned, names of mappings included.

        What is nested more deeply than anybody means it is hidden: it would exhaust the stack.

        Of a file before and after a change, what stands at one key in both is hidden in both where one
        is a secret: the other is what the secret was, or what it becomes.
        """
        if isinstance(value, str):
            return self.text(value)
        if depth > _DEEPEST and isinstance(value, Mapping | list | tuple):
            return HIDDEN
        if isinstance(value, Mapping):
            keyed = self._keyed
            if names := set(self._keys_of_secrets(value)):
                keyed = _keyed(self._names | names)
            return {
                self.text(str(name)): self._entry(str(name), entry, keyed, depth)
                for name, entry in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.data(entry, depth + 1) for entry in value]
        if isinstance(value, bool | None):
            return value
        if isinstance(value, int | float):
            secret = self._secrets and self._secrets.fullmatch(json.dumps(value))
            return HIDDEN if secret else value
        return self.text(str(value))

    def _text(self, value: str, keyed: re.Pattern[str]) -> str:
        if "\x1b" in value:
            value = _COLOURS.sub("", value)
        if '"' in value:
            value = _hide_values(value, keyed)
        if self._secrets:
            value = self._secrets.sub(HIDDEN, value)
        if "\x00" in value:
            value = value.replace("\x00", "\ufffd")
        return value if value.isascii() else value.encode("utf-8", "replace").decode()

    def _entry(self, name: str, entry: Any, keyed: re.Pattern[str], depth: int) -> Any:
        if name not in _OF_A_VISIT and (name in self._names or self._telling.fullmatch(name)):
            return entry if entry is None or entry == "" else HIDDEN
        return self._text(entry, keyed) if isinstance(entry, str) else self.data(entry, depth + 1)

    def _keys_of_secrets(self, diff: Mapping[str, Any]) -> Iterator[str]:
        """The keys at which a secret stands in one of the two texts of a diff."""
        if self._secrets is None or not {"before", "after"} <= set(diff):
            return
        for text in (diff["before"], diff["after"]):
            if isinstance(text, str) and self._secrets.search(text):
                for key, value in _PAIR.findall(text):
                    if self._secrets.search(value):
                        yield _read(f'"{key}"')


def _keyed(names: Iterable[str]) -> re.Pattern[str]:
    """What finds a key, and the quotation mark behind it, which is escaped in JSON within JSON.

    What stands before the key's own mark is for the caller to look at: to search for a run of
    backslashes takes the square of its length.
    """
    forms = {form for name in names for form in (name, json.dumps(name)[1:-1])}
    wanted = "|".join([f"(?i:{_TELLING})", *map(re.escape, sorted(forms))])
    return re.compile(rf'"(?:{wanted})(?P<quote>\\*")\s*:\s*(?=\S)')


def _hide_values(text: str, keyed: re.Pattern[str]) -> str:
    """A text with the values of some keys of the JSON in it hidden; absent and empty ones stay."""
    kept: list[str] = []
    at = looked_to = 0
    while found := keyed.search(text, looked_to):
        quote = found["quote"]
        looked_to = found.start() + 1
        if not text.endswith(quote, at, looked_to):
            continue  # what begins here ends otherwise, so it is no key
        start = found.end()
        end = _end_of_value(text, start, quote)
        kept.append(text[at:start])
        shown = text[start:end]
        kept.append(shown if shown in ("null", quote * 2) else f"{quote}{HIDDEN}{quote}")
        at = looked_to = end
    return "".join([*kept, text[at:]])


def _end_of_value(text: str, start: int, quote: str) -> int:
    """Where a value ends; of one that is cut short, or of no form that is known, the line's end."""
    if quote == '"':
        try:
            return _DECODER.raw_decode(text, start)[1]
        except ValueError:
            pass
        except RecursionError:
            return len(text)  # to go on line by line would take minutes
    elif text.startswith(quote, start):
        closing = re.compile(rf"(?<!\\){re.escape(quote)}")
        if found := closing.search(text, start + len(quote)):
            return found.end()
    elif found := re.compile(r"[^\s,\[\]{}\\]+").match(text, start):
        return found.end()
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _read(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted[1:-1]


def cleaner_of(session: Session, vault: Vault, hosts: Iterable[str]) -> Cleaner:
    """What cleans the words of a run over these hosts of every secret that it may come to see."""
    sealed = set(session.scalars(select(Hostgroup.secrets)))
    names = set(hosts)
    of_plugins = set(session.scalars(select(BindingRow.secrets)))
    overrides = select(Host.name, OverrideRow.secrets).join(OverrideRow.host)
    of_plugins |= {secrets for name, secrets in session.execute(overrides) if name in names}
    for name, secrets in session.execute(select(Host.name, Host.secrets).where(Host.secrets != "")):
        if name in names:
            sealed.add(secrets)
    opened = [vault.open(entry) for entry in sealed]
    # Those of configurations are kept by their paths there.
    opened += [{key_of(p): value} for s in of_plugins for p, value in vault.open(s).items()]
    values = {value for secrets in opened for _, value in _leaves("", secrets)}
    return Cleaner(values, {key for secrets in opened for key, _ in _leaves("", secrets)})


def _leaves(key: str, value: Any) -> Iterator[tuple[str, str | float]]:
    """Each text and number of a secret, and the key that it stands at."""
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _leaves(str(name), entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _leaves(key, entry)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield key, value
