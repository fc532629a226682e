"""The words of a file of MySQL statements, read bit by bit (dev.mysql.com, "Language Structure").

Only what `mysqldump` writes is of interest; whatever else there is comes by as words that nobody asks for.
"""

from __future__ import annotations

import codecs
import re
from typing import BinaryIO, NamedTuple

_CHUNK = 1 << 18  # bytes
# "-- MySQL dump 10.13  Distrib 8.0.36", "-- MariaDB dump 10.19-11.4.2".
_HEAD = re.compile(r"-- \w+ dump ")
_LONGEST = 1 << 24  # characters of one word; mysqldump breaks its lines at a megabyte
_SNIFFED = 1 << 16  # bytes at the beginning that say in which characters the rest is
# MySQL's names of them (its latin1 is Windows-1252), and Python's.
_CHARSETS = {
    "utf8": "utf-8",
    "utf8mb3": "utf-8",
    "utf8mb4": "utf-8",
    "binary": "utf-8",
    "ascii": "ascii",
    "latin1": "cp1252",
    "gbk": "gbk",
    "gb2312": "gb2312",
    "gb18030": "gb18030",
    "big5": "big5",
}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Possessive: a text that does not end must not be tried again in a million ways.
_WORD = re.compile(
    r"""(?P<blank>\s++)
    |(?P<comment>--(?=\s|\Z)[^\n]*+|\#[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)
    |(?P<text>'(?:[^'\\]++|\\.|'')*+'|"(?:[^"\\]++|\\.|"")*+")
    |(?P<name>`(?:[^`]++|``)*+`)
    |(?P<word>[^\s'"`(),;=\#/*+-]++)
    |(?P<sign>(?!/\*)[^'"`])""",
    re.DOTALL | re.VERBOSE,
)
# To the end of a statement that nobody asks for, in steps that are large and shorter than a chunk.
_SKIPPED = re.compile(
    r"""(?P<end>;)
    |(?P<rest>(?:[^'"`;\#/-]++|'(?:[^'\\]++|\\.|'')*+'|"(?:[^"\\]++|\\.|"")*+"|`(?:[^`]++|``)*+`){1,1000}+
    |--(?=\s|\Z)[^\n]*+|\#[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/|(?!/\*)[-/])""",
    re.DOTALL | re.VERBOSE,
)
# A row as mysqldump writes it: texts, numbers and NULL. Ten times as fast as word by word.
_TEXT = r"'((?:[^'\\]++|\\.|'')*+)'"
_PLAIN = rf"\s*+(?:{_TEXT.replace('((', '(?:(', 1)}|[\w.]++)\s*+"
_ROW = re.compile(rf"\s*+\(({_PLAIN}(?:,{_PLAIN})*+)\)", re.DOTALL)
_VALUE = re.compile(rf"{_TEXT}|([\w.]++)", re.DOTALL)
_ESCAPED = {quote: re.compile(rf"\\(.)|{quote}{quote}", re.DOTALL) for quote in "'\""}
_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}


class DumpError(Exception):
    """A file cannot be read as a dump; says in which line, and what to do."""


class Word(NamedTuple):
    """One word.

    Attributes:
        kind: `text` (in quotes), `name` (in backticks), `word`, or `sign`.
        value: without its quotes.
    """

    kind: str
    value: str


class Words:
    """The words of a file, one after the other.

    Args:
        chunk: bytes that are read at a time.
    """

    def __init__(self, stream: BinaryIO, chunk: int = _CHUNK) -> None:
        head = stream.read(_SNIFFED)
        self._stream = stream
        self._chunk = chunk
        self._decoder = codecs.getincrementaldecoder(_encoding(head))("replace")
        self._ended = False
        self._lines = 1
        self._buffer = ""
        self._at = 0
        self._is_dump = False
        self._last_comment = ""
        self._take(head)

    @property
    def line(self) -> int:
        """The line that the last word ended in."""
        return self._lines + self._buffer.count("\n", 0, self._at)

    @property
    def is_complete(self) -> bool:
        """Whether it ends as it should, as far as it says: mysqldump's last line is a comment."""
        return not self._is_dump or self._last_comment.startswith("-- Dump completed")

    def error(self, message: str) -> DumpError:
        """An error that says where."""
        return DumpError(f"line {self.line}: {message}")

    def next(self) -> Word | None:
        """The next word; None where the file ends.

        Raises:
            DumpError: it ends within one.
        """
        while (found := self._match(_WORD)) is not None:
            kind, value = found.lastgroup or "", found[0]
            if kind == "comment":
                # Not always the first: MariaDB's begins with one for its own client.
                self._is_dump = self._is_dump or _HEAD.match(value) is not None
                self._last_comment = value
            if kind in ("blank", "comment"):
                continue
            if kind == "text":
                value = _ESCAPED[value[0]].sub(_meant, value[1:-1])
            elif kind == "name":
                value = value[1:-1].replace("``", "`")
            return Word(kind, value)
        return None

    def row(self) -> list[str | None] | None:
        """The values of a row in parentheses; None where it is not all here, or is not a plain one.

        Then nothing was taken: it is to be read word by word.
        """
        found = _ROW.match(self._buffer, self._at)
        if found is None or found.end() == len(self._buffer):
            return None
        values: list[str | None] = []
        for text, word in _VALUE.findall(found[1]):
            if not word:
                values.append(_ESCAPED["'"].sub(_meant, text) if _special(text) else text)
            elif word[0] == "_" or word[:2] in ("0x", "0X"):
                return None
            else:
                values.append(None if word.upper() == "NULL" else word)
        self._at = found.end()
        return values

    def skip(self) -> None:
        """Go behind the end of the statement.

        Raises:
            DumpError: the file ends within it.
        """
        while (found := self._match(_SKIPPED)) is not None:
            if found.lastgroup == "end":
                return
        raise self.cut_off()

    def cut_off(self) -> DumpError:
        """The error of a file that ends too early."""
        return self.error("the file ends within a statement: it was cut off. Make the dump again")

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The next match; None where the file ends."""
        wanted = self._chunk
        while True:
            found = pattern.match(self._buffer, self._at)
            # What reaches to the end of what was read may go on behind it.
            if found is not None and (found.end() < len(self._buffer) or self._ended):
                self._at = found.end()
                return found
            if self._ended:
                if self._at < len(self._buffer):
                    raise self.cut_off()
                return None
            if len(self._buffer) - self._at > _LONGEST:
                raise self.error(f"something is longer than {_LONGEST} characters: this is no dump")
            self._drop()
            self._take(self._stream.read(wanted))
            wanted *= 2  # else a long text would be looked at from its beginning for every chunk

    def _drop(self) -> None:
        self._lines = self.line
        self._buffer = self._buffer[self._at :]
        self._at = 0

    def _take(self, content: bytes) -> None:
        self._ended = not content
        text = self._decoder.decode(content, final=self._ended)
        if "\0" in text:
            raise DumpError("it is no text: a dump is what `mysqldump` prints")
        self._buffer += text


def _encoding(head: bytes) -> str:
    """In which characters a dump is, as it says at its beginning.

    Raises:
        DumpError: it is in some that we do not know, or is compressed.
    """
    if head.startswith(b"\x1f\x8b"):
        raise DumpError("it is compressed: unpack it with gunzip first")
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    named = re.search(rb"(?i)\bSET\s+NAMES\s+'?(\w+)", head)
    charset = named[1].decode().lower() if named else "utf8mb4"
    if charset not in _CHARSETS:
        raise DumpError(
            f"it is written in {charset}, which is not known here: "
            "make it with --default-character-set=utf8mb4"
        )
    return _CHARSETS[charset]


def _special(text: str) -> bool:
    return "\\" in text or "'" in text


def _meant(escaped: re.Match[str]) -> str:
    """The character that an escape stands for: one behind a backslash, or a quote that stands twice."""
    if escaped[1] is None:
        return escaped[0][0]
    return _ESCAPES.get(escaped[1], escaped[1])
