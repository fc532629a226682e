"""Label rules such as `idc=bj,role!=db`: which hosts are members of a hostgroup by their labels.

They read as Kubernetes' label selectors do (kubernetes.io/docs/concepts/overview/working-with-objects/labels):
a comma is "and"; `k!=v` and `k notin (...)` fit hosts without the label too. Unlike there, an empty
rule fits nothing, and a rule that no labels could ever fit is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

_TOKEN = re.compile(r"\s*(?:(?P<sign>!=|==|=|!|,|\(|\))|(?P<word>[A-Za-z0-9_.\-/:@+]+))")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-/]{0,99}")
_MOST_REQUIREMENTS = 100


class RuleError(ValueError):
    """A label rule that cannot be read, or that no host could ever fit."""

    def __init__(self, message: str, at: int | None = None) -> None:
        super().__init__(message if at is None else f"at character {at + 1}: {message}")


@dataclass
class _Wanted:
    """What a rule asks of one label.

    Attributes:
        allowed: the only values that fit, or None for any.
        forbidden: values that do not fit.
        present: whether the label must be there (True), must not (False), or either (None).
    """

    allowed: frozenset[str] | None = None
    forbidden: frozenset[str] = frozenset()
    present: bool | None = None

    def fits(self, value: str | None) -> bool:
        if value is None:
            return self.present is not True
        if self.present is False or value in self.forbidden:
            return False
        return self.allowed is None or value in self.allowed


@dataclass(frozen=True)
class Rule:
    """One label rule, read.

    Attributes:
        text: as it was written, without spaces around it.
    """

    text: str
    _wanted: Mapping[str, _Wanted] = field(repr=False, compare=False)

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether a host with these labels is a member; never for an empty rule."""
        if not self._wanted:
            return False
        return all(wanted.fits(labels.get(key)) for key, wanted in self._wanted.items())


@lru_cache(maxsize=1024)
def parse(text: str) -> Rule:
    """Read a label rule.

    Raises:
        RuleError: says at which character what is wrong, or which label asks for the impossible.
    """
    return _Reader(text).rule()


@dataclass(frozen=True)
class _Token:
    text: str
    at: int
    is_word: bool


class _Reader:
    """Reads one rule, requirement by requirement."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._next = 0
        self._wanted: dict[str, _Wanted] = {}

    def rule(self) -> Rule:
        if self._peek() is not None:
            self._requirement()
        read = 1
        while (token := self._take()) is not None:
            if token.text != ",":
                raise RuleError(f"expected ',' or the end, not {token.text!r}", token.at)
            self._requirement()
            read += 1
            if read > _MOST_REQUIREMENTS:
                raise RuleError(f"more than {_MOST_REQUIREMENTS} requirements", token.at)
        return Rule(self._text.strip(), self._wanted)

    def _requirement(self) -> None:
        if self._follows("!"):
            self._want(self._key(), present=False)
            return
        key = self._key()
        sign = self._peek()
        if sign is None or sign.text == ",":
            self._want(key, present=True)
            return
        self._next += 1
        if sign.text in ("=", "=="):
            self._want(key, present=True, allowed=frozenset({self._value()}))
        elif sign.text == "!=":
            self._want(key, forbidden=frozenset({self._value()}))
        elif sign.text == "in":
            self._want(key, present=True, allowed=self._values())
        elif sign.text == "notin":
            self._want(key, forbidden=self._values())
        else:
            raise RuleError(
                f"expected =, !=, in, notin or ',' after label {key.text!r}, not {sign.text!r}",
                sign.at,
            )

    def _key(self) -> _Token:
        token = self._take()
        if token is None or not token.is_word:
            at = token.at if token else len(self._text)
            raise RuleError("expected the name of a label", at)
        if not _KEY.fullmatch(token.text):
            raise RuleError(f"{token.text[:50]!r} is not the name of a label", token.at)
        return token

    def _value(self) -> str:
        """A value; `k=` asks for the empty one."""
        token = self._peek()
        if token is None or token.text == ",":
            return ""
        if not token.is_word:
            raise RuleError(f"expected a value, not {token.text!r}", token.at)
        self._next += 1
        return token.text

    def _values(self) -> frozenset[str]:
        """`(a b)` or `(a, b)`."""
        opened = self._take()
        if opened is None or opened.text != "(":
            raise RuleError(
                "expected '(' and values, e.g. `role in (web db)`",
                opened.at if opened else len(self._text),
            )
        values: set[str] = set()
        while (token := self._take()) is not None and token.text != ")":
            if token.is_word:
                values.add(token.text)
            elif token.text != ",":
                raise RuleError(f"expected a value or ')', not {token.text!r}", token.at)
        if token is None:
            raise RuleError("the '(' is never closed", opened.at)
        if not values:
            raise RuleError("there is no value between the parentheses", opened.at)
        return frozenset(values)

    def _want(
        self,
        key: _Token,
        *,
        present: bool | None = None,
        allowed: frozenset[str] | None = None,
        forbidden: frozenset[str] = frozenset(),
    ) -> None:
        """Add a requirement to what is asked of its label already."""
        wanted = self._wanted.setdefault(key.text, _Wanted())
        if present is not None:
            if wanted.present is (not present):
                raise RuleError(
                    f"label {key.text!r} would have to be there and not be there", key.at
                )
            wanted.present = present
        if allowed is not None:
            wanted.allowed = allowed if wanted.allowed is None else wanted.allowed & allowed
        wanted.forbidden |= forbidden
        if wanted.allowed is not None and not wanted.allowed - wanted.forbidden:
            raise RuleError(f"no value of label {key.text!r} can fit all that is asked", key.at)

    def _follows(self, text: str) -> bool:
        token = self._peek()
        if token is None or token.text != text:
            return False
        self._next += 1
        return True

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self) -> _Token | None:
        token = self._peek()
        self._next += token is not None
        return token


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            while text[at].isspace():
                at += 1
            raise RuleError(f"{text[at]!r} cannot stand in a rule", at)
        kind = "word" if match["word"] else "sign"
        tokens.append(_Token(match[kind], match.start(kind), kind == "word"))
        at = match.end()
    return tokens
