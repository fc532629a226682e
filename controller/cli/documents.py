"""Reading and writing the configuration as YAML: every value knows its file and line.

YAML is read as JSON's values only: no dates, no tags, each key once. So what is in the file is what
is sent, and an error of the controller can be shown at the line that caused it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.cli.exits import CommandError
from controller.cli.options import read_input

if TYPE_CHECKING:
    import yaml

SECTIONS = ("sources", "hostgroups", "overrides", "schedules")
_HEADER = "# Written by `plugfleet export`; `plugfleet apply` makes a controller follow it.\n"
_MOST_VALUES = 1_000_000
_ITEM = re.compile(r"\[(\d+)\]")
_SUFFIXES = (".yml", ".yaml")
_KINDS = {
    "tag:yaml.org,2002:str": "text",
    "tag:yaml.org,2002:int": "number",
    "tag:yaml.org,2002:float": "number",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:null": "nothing",
    # A date is only a text that looks like one.
    "tag:yaml.org,2002:timestamp": "text",
}


@dataclass
class Document:
    """The configuration of one or several files.

    Attributes:
        content: the sections, as the API takes them.
        lines: "FILE:LINE" of each value, by its dotted path.
    """

    content: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)

    def find(self, place: str) -> tuple[str, str]:
        """A place of the document, or the closest one around it, and its "FILE:LINE"; may be empty."""
        parts = _ITEM.sub(r".\1", place.removeprefix("body.")).split(".")
        for length in range(len(parts), 0, -1):
            path = ".".join(parts[:length])
            if path in self.lines:
                return path, self.lines[path]
        return "", ""


def read(paths: Iterable[Path]) -> Document:
    """Read files, and the YAML files of folders, as one document.

    Raises:
        CommandError: names file and line.
    """
    document = Document()
    files = [file for path in paths for file in _files(path)]
    for file in files:
        content = _Reader(file, document).content()
        for section, things in content.items():
            document.content.setdefault(section, {}).update(things)
    return document


def write(content: dict[str, Any], target: Path | None) -> list[Path]:
    """Write a document into a file, or into a folder: a file for each hostgroup, and one for all else of a kind.

    Args:
        target: None is standard output.

    Raises:
        CommandError: it cannot be written.
    """
    if target is None:
        import typer

        typer.echo(_text(content), nl=False)
        return []
    if target.is_dir():
        files = {
            target / f"{section}.yml": {section: content[section]}
            for section in SECTIONS
            if section != "hostgroups"
        }
        for name, group in content["hostgroups"].items():
            files[target / "hostgroups" / f"{name}.yml"] = {"hostgroups": {name: group}}
        stale = set((target / "hostgroups").glob("*.yml")) - files.keys()
    else:
        files, stale = {target: content}, set()
    try:
        for file, part in files.items():
            file.parent.mkdir(exist_ok=True)
            partial = file.with_name(f".{file.name}.new")
            partial.write_text(_text(part))
            partial.replace(file)
        for file in stale:
            # A hostgroup that is no more would come back with the next apply.
            if file.read_text().startswith(_HEADER):
                file.unlink()
    except OSError as error:
        raise CommandError(
            f"cannot write {error.filename or target}: {error.strerror or error}"
        ) from None
    return sorted(files)


def _text(content: dict[str, Any]) -> str:
    import yaml

    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    return _HEADER + body


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    if not files:
        raise CommandError(f"there is no .yml file in {path}")
    return files


class _Reader:
    """Reads one file into a document's lines, and gives its content."""

    def __init__(self, file: Path, document: Document) -> None:
        self._file = file
        self._document = document
        self._values = 0

    def content(self) -> dict[str, Any]:
        """The file's sections."""
        import yaml

        try:
            node = yaml.compose(read_input(self._file), Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise CommandError(f"{self._file}{line}: {error.problem or error.context}") from None
        except (yaml.YAMLError, ValueError) as error:
            raise CommandError(f"{self._file} is not YAML: {error}") from None
        except RecursionError:
            raise CommandError(f"{self._file}: nested too deeply") from None
        if node is None:
            return {}
        content = self._value(node, (), ())
        if not isinstance(content, dict):
            raise self._wrong(node, f"must be a mapping with {', '.join(SECTIONS)}")
        for section, things in content.items():
            where = self._document.lines[section]
            if section not in SECTIONS:
                raise CommandError(
                    f"{where}: unknown section {section!r}", hint=f"known are {', '.join(SECTIONS)}"
                )
            if things is None:
                content[section] = {}
            elif not isinstance(things, dict):
                raise CommandError(f"{where}: {section} must be a mapping of names")
        return content

    def _value(self, node: yaml.Node, path: tuple[str, ...], around: tuple[int, ...]) -> Any:
        import yaml

        self._values += 1
        if self._values > _MOST_VALUES:
            raise self._wrong(node, f"the file holds more than {_MOST_VALUES} values")
        if id(node) in around or len(around) > 100:
            raise self._wrong(node, "nested too deeply, or within itself")
        around = (*around, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, around)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for number, item in enumerate(node.value):
                inner = (*path, str(number))
                self._document.lines[".".join(inner)] = self._place(item)
                items.append(self._value(item, inner, around))
            return items
        return self._scalar(node)

    def _mapping(
        self, node: yaml.MappingNode, path: tuple[str, ...], around: tuple[int, ...]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = self._scalar(key) if hasattr(key, "value") else None
            if not isinstance(name, str):
                raise self._wrong(key, "a key must be a text; put it in quotes")
            inner = (*path, name)
            dotted = ".".join(inner)
            # Files of one document share the sections, and nothing below them.
            if name in found or (len(inner) == 2 and dotted in self._document.lines):
                first = self._document.lines[dotted]
                raise self._wrong(key, f"{name!r} stands there already ({first})")
            self._document.lines[dotted] = self._place(key)
            found[name] = self._value(value, inner, around)
        return found

    def _scalar(self, node: yaml.Node) -> Any:
        import yaml

        if not isinstance(node, yaml.ScalarNode) or node.tag not in _KINDS:
            raise self._wrong(node, f"a value of the kind {node.tag} cannot be used here")
        if _KINDS[node.tag] == "text":
            return node.value
        value = yaml.SafeLoader("").construct_object(node)
        if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
            raise self._wrong(node, "is a number that JSON does not have")
        return value

    def _place(self, node: yaml.Node) -> str:
        return f"{self._file}:{node.start_mark.line + 1}"

    def _wrong(self, node: yaml.Node, message: str) -> CommandError:
        return CommandError(f"{self._place(node)}: {message}")
