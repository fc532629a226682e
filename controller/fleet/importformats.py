"""Reading hosts from JSON and CSV: entries, and what is wrong with each."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pydantic import ValidationError

from controller.errors import TooLarge
from controller.fleet.schemas import MOST_HOSTS, HostgroupPatch, HostImport, ImportProblem

_LABEL_COLUMN = "labels."
_COLUMNS = ("name", "address", "agent_kind", "hostgroups")


@dataclass(frozen=True)
class Place:
    """Where something stands in what was given.

    Attributes:
        line: of a text, from 1.
        row: of a JSON list, from 1.
    """

    line: int | None = None
    row: int | None = None

    def problem(self, message: str, host: str = "") -> ImportProblem:
        """A problem that stands here."""
        return ImportProblem(line=self.line, row=self.row, host=host, message=message)

    def __str__(self) -> str:
        if self.line is not None:
            return f"line {self.line}"
        return "the text" if self.row is None else f"entry {self.row}"


@dataclass(frozen=True)
class Entry:
    """One host of an import."""

    place: Place
    host: HostImport


@dataclass
class Given:
    """What an import holds.

    Attributes:
        entries: by the host's name.
        hostgroups: changes of hostgroups' variables, by name.
        problems: what could not be read; then nothing is imported.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    hostgroups: dict[str, HostgroupPatch] = field(default_factory=dict)
    problems: list[ImportProblem] = field(default_factory=list)

    def add(self, place: Place, fields: Any) -> None:
        """Take over one host as it was given, or note what is wrong with it."""
        name = fields.get("name", "") if isinstance(fields, dict) else ""
        # Half of a Unicode pair cannot be written into an answer.
        shown = name.encode(errors="replace").decode() if isinstance(name, str) else ""
        try:
            host = HostImport.model_validate(fields)
        except ValidationError as error:
            for part in error.errors():
                where = ".".join(str(step) for step in part["loc"])
                message = f"{where}: {part['msg']}" if where else part["msg"]
                self.problems.append(place.problem(message, shown[:253]))
            return
        first = self.entries.get(host.name)
        if first is not None:
            self.problems.append(
                place.problem(f"the host stands in {first.place} already", host.name)
            )
            return
        self.entries[host.name] = Entry(place, host)
        if len(self.entries) > MOST_HOSTS:
            raise TooLarge(
                f"more than {MOST_HOSTS} hosts at once", hint="import them in several parts"
            )


def read_json(content: bytes) -> Given:
    """Hosts of a JSON list, or of an object with `hosts`."""
    given = Given()
    text = _decoded(content, given)
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = Place(line=error.lineno)
        given.problems.append(place.problem(f"not JSON: {error.msg} (column {error.colno})"))
        return given
    except (ValueError, RecursionError) as error:
        given.problems.append(Place().problem(f"not JSON that can be taken: {error}"))
        return given
    hosts = value.get("hosts") if isinstance(value, dict) else value
    if not isinstance(hosts, list):
        given.problems.append(Place().problem('must be a list of hosts, or {"hosts": [...]}'))
        return given
    for number, fields in enumerate(hosts, 1):
        given.add(Place(row=number), fields)
    return given


def read_csv(content: bytes) -> Given:
    """Hosts of a CSV text with a header line; `,` or `;` between fields.

    The columns are `name`, `address`, `agent_kind`, `hostgroups` (names with spaces between),
    `labels.KEY`, and any other is a variable. An empty field leaves things as they are.
    """
    given = Given()
    lines = _decoded(content, given).splitlines(keepends=True)
    if given.problems:
        return given
    header = next((line for line in lines if line.strip()), "")
    reader = csv.reader(
        lines, delimiter=";" if header.count(";") > header.count(",") else ",", strict=True
    )
    columns: list[str] = []
    try:
        for line, row in _rows(reader):
            if not columns:
                columns = [column.strip() for column in row]
                given.problems += _header_problems(columns, line)
                if given.problems:
                    break
            elif len(row) != len(columns):
                message = f"has {len(row)} fields, the header has {len(columns)}"
                given.problems.append(Place(line=line).problem(message))
            else:
                given.add(Place(line=line), _fields(dict(zip(columns, row, strict=True))))
    except csv.Error as error:
        given.problems.append(Place(line=reader.line_num).problem(f"not CSV: {error}"))
    if not columns and not given.problems:
        given.problems.append(Place(line=1).problem("there is no header line"))
    return given


def _rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, each with the line on which it begins."""
    begins = 1
    for row in reader:
        if any(text.strip() for text in row):
            yield begins, row
        begins = reader.line_num + 1


def _header_problems(columns: list[str], line: int) -> list[ImportProblem]:
    messages = [f"column {name!r} stands there twice" for name in _twice(columns)]
    if "" in columns:
        messages.append("a column has no name")
    if "name" not in columns:
        messages.append("there is no column 'name'")
    return [Place(line=line).problem(message) for message in messages]


def _twice(names: list[str]) -> list[str]:
    return sorted({name for name in names if name and names.count(name) > 1})


def _fields(row: Mapping[str, str]) -> dict[str, Any]:
    """A row as the fields of a host."""
    filled = {column: text.strip() for column, text in row.items() if text.strip()}
    fields: dict[str, Any] = {key: filled[key] for key in _COLUMNS if key in filled}
    if "hostgroups" in fields:
        fields["hostgroups"] = fields["hostgroups"].split()
    rest = {column: text for column, text in filled.items() if column not in _COLUMNS}
    labels = {
        column.removeprefix(_LABEL_COLUMN): text
        for column, text in rest.items()
        if column.startswith(_LABEL_COLUMN)
    }
    variables = {
        column: text for column, text in rest.items() if not column.startswith(_LABEL_COLUMN)
    }
    return fields | {"labels": labels, "variables": variables}


def _decoded(content: bytes, given: Given) -> str:
    """The text, without a byte order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        given.problems.append(Place(line=line).problem("is not UTF-8"))
        return ""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
