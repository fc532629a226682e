"""Reads what a portal holds from a dump of its MySQL database (open-falcon.md, section 2), bit by bit.

Of a `mysqldump` four tables are of interest; all others, of whatever database, are passed over.
"""

from __future__ import annotations

from typing import BinaryIO

from controller.portal.dumptables import NEEDED, Dump, Tables, portal_of, put_together
from controller.portal.sql import Word, Words

# All columns of each table, in the order in which the portal makes them.
_COLUMNS = {
    "grp": ("id", "grp_name", "create_user", "create_at", "come_from"),
    "host": (
        "id",
        "hostname",
        "ip",
        "agent_version",
        "plugin_version",
        "maintain_begin",
        "maintain_end",
        "update_at",
    ),
    "grp_host": ("grp_id", "host_id"),
    "plugin_dir": ("id", "grp_id", "dir", "create_user", "create_at"),
}
_NO_COLUMN = {
    "PRIMARY", "KEY", "UNIQUE", "INDEX", "CONSTRAINT", "FULLTEXT", "SPATIAL", "FOREIGN", "CHECK",
}  # fmt: skip
_LONGEST_VALUE = 1000  # characters of a value that we need


def read(stream: BinaryIO, chunk: int | None = None) -> Dump:
    """Read a dump.

    Args:
        stream: the file, from its beginning.
        chunk: bytes that are read at a time.

    Raises:
        DumpError: it is none of a portal, or was cut off.
    """
    words = Words(stream) if chunk is None else Words(stream, chunk)
    reader = _Reader(words)
    reader.read()
    if not words.is_complete:
        raise words.error(
            "the dump was cut off: its last line is not '-- Dump completed'; dump again"
        )
    return put_together(portal_of(reader.databases))


class _Reader:
    """Reads statements into the tables of their databases."""

    def __init__(self, words: Words) -> None:
        self.databases: dict[str, Tables] = {}
        self._words = words
        self._database = ""
        self._columns: dict[tuple[str, str], list[str]] = {}

    def read(self) -> None:
        """Read all statements."""
        while (word := self._words.next()) is not None:
            if word == Word("sign", ";"):
                continue
            match word.value.upper() if word.kind == "word" else "":
                case "USE":
                    self._database = self._word().value.lower()
                    self._words.skip()
                case "CREATE":
                    self._create()
                case "DROP":
                    self._drop()
                case "INSERT" | "REPLACE":
                    self._insert()
                case _:
                    self._words.skip()

    def _word(self) -> Word:
        word = self._words.next()
        if word is None:
            raise self._words.cut_off()
        return word

    def _table(self, first: Word) -> tuple[tuple[str, str], Word]:
        """Database and table, and the word behind."""
        following = self._word()
        if first.kind == "word" and "." in first.value:
            database, _, table = first.value.partition(".")
            if not table:  # falcon_portal.`grp`
                return (database.lower(), following.value.lower()), self._word()
            return (database.lower(), table.lower()), following
        if following == Word("word", "."):
            table, following = self._word().value, self._word()
            return (first.value.lower(), table.lower()), following
        if following.kind == "word" and following.value.startswith("."):  # `falcon_portal`.grp
            return (first.value.lower(), following.value[1:].lower()), self._word()
        return (self._database, first.value.lower()), following

    def _create(self) -> None:
        if self._word().value.upper() != "TABLE":
            self._words.skip()
            return
        word = self._word()
        again = False
        while word.kind == "word" and word.value.upper() in ("IF", "NOT", "EXISTS"):
            word, again = self._word(), True
        place, word = self._table(word)
        if place[1] not in NEEDED or word.value != "(":
            self._words.skip()
            return
        columns, depth, first = [], 1, True
        while depth:
            word = self._word()
            if word.kind == "sign" and word.value in "(),;":
                if word.value == ";":
                    return
                depth += {"(": 1, ")": -1}.get(word.value, 0)
                first = word.value == "," and depth == 1
                continue
            if first and not (word.kind == "word" and word.value.upper() in _NO_COLUMN):
                columns.append(word.value.lower())
            first = False
        self._columns[place] = columns
        self._words.skip()
        if not again:
            self._tables(place[0]).clear(place[1])
        if set(NEEDED[place[1]][:2]) <= set(columns):
            self._tables(place[0]).seen.add(place[1])

    def _drop(self) -> None:
        if self._word().value.upper() != "TABLE":
            self._words.skip()
            return
        word = self._word()
        while word.kind == "word" and word.value.upper() in ("IF", "EXISTS"):
            word = self._word()
        place, word = self._table(word)
        if place[1] in NEEDED:
            self._tables(place[0]).clear(place[1])
        if word.value != ";":
            self._words.skip()

    def _insert(self) -> None:
        word = self._word()
        while word.kind == "word" and word.value.upper() in (
            "INTO", "IGNORE", "DELAYED", "LOW_PRIORITY", "HIGH_PRIORITY",
        ):  # fmt: skip
            word = self._word()
        (database, table), word = self._table(word)
        if table not in NEEDED:
            self._words.skip()
            return
        columns = self._columns.get((database, table), list(_COLUMNS[table]))
        if word.value == "(":
            columns, word = self._names(), self._word()
        if word.value.upper() not in ("VALUES", "VALUE"):
            raise self._words.error(f"cannot read INSERT INTO {table}: no VALUES")
        if not set(NEEDED[table][:2]) <= set(columns):
            self._words.skip()  # mysql.host, say, which has nothing of ours
            return
        places = [columns.index(name) for name in NEEDED[table] if name in columns]
        tables = self._tables(database)
        tables.seen.add(table)
        while True:
            self._row(table, columns, places, tables)
            word = self._word()
            if word.value == ",":
                continue
            if word.value != ";":
                self._words.skip()  # ON DUPLICATE KEY UPDATE, or AS new
            return

    def _names(self) -> list[str]:
        names = []
        while (word := self._word()).value != ")":
            if word.value != ",":
                names.append(word.value.lower())
        return names

    def _row(self, table: str, columns: list[str], places: list[int], tables: Tables) -> None:
        """Read `(value, ...)` into a table."""
        values = self._words.row() or self._values(table)
        if len(values) != len(columns):
            raise self._words.error(
                f"a row of {table} has {len(values)} values for {len(columns)} columns"
            )
        needed = [values[place] for place in places]
        if any(value is not None and len(value) > _LONGEST_VALUE for value in needed):
            raise self._words.error(f"a row of {table} holds a name that no portal could hold")
        try:
            tables.add(table, needed)
        except (ValueError, OverflowError):
            raise self._words.error(f"a row of {table} has no number where one must be") from None

    def _values(self, table: str) -> list[str | None]:
        """The values of a row, word by word."""
        if self._word() != Word("sign", "("):
            raise self._words.error(f"cannot read INSERT INTO {table}: a row must begin with (")
        values: list[str | None] = []
        parts: list[Word] = []
        while True:
            word = self._word()
            if word.kind != "sign" or word.value not in ",()":
                parts.append(word)
                continue
            if word.value == "(":
                raise self._words.error(f"cannot read INSERT INTO {table}: it holds an expression")
            values.append(_value(parts))
            parts = []
            if word.value == ")":
                return values

    def _tables(self, database: str) -> Tables:
        return self.databases.setdefault(database, Tables())


def _value(parts: list[Word]) -> str | None:
    """A value of the words that it is written in; None is NULL."""
    match parts:
        case [Word("word", word)] if word.upper() == "NULL":
            return None
        case [Word("word", "x" | "X"), Word("text", digits)]:
            return _from_hex(digits)
        case [Word("word", word), Word("text", text)] if word.startswith("_"):  # _utf8mb4'...'
            return text
        case [Word("word", word)] if word[:2].lower() == "0x":
            return _from_hex(word[2:])
    return "".join(part.value for part in parts)


def _from_hex(digits: str) -> str:
    try:
        return bytes.fromhex(digits).decode(errors="replace")
    except ValueError:
        return digits
