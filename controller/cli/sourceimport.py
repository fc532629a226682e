"""`plugfleet source import`: many sources at once."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli import output
from controller.cli.exits import CommandError, Exit
from controller.cli.options import AsJson, open_client, read_input, read_yaml, secrets

_COLUMNS = ("name", "path", "url", "ref", "subdir")
_SHOWN = (
    output.Column("", "action", state=True),
    output.Column("Source", "name"),
    output.Column("Mounted at", lambda row: row["path"] or "(root)"),
    output.Column("URL", "url"),
    output.Column("Ref", "ref"),
    output.Column("What", lambda row: row["message"] or _changes(row)),
)


def import_sources(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|URL",
            help="A YAML, JSON or CSV file with path, url, ref and subdir of each, - for YAML on standard "
            "input; or the URL of a repository of submodules.",
        ),
    ],
    under: Annotated[
        str, typer.Option(help="Folder of the plugin tree that all of them are put into.")
    ] = "",
    ref: Annotated[
        str, typer.Option(help="Branch, tag or commit of the repository of submodules.")
    ] = "",
    username: Annotated[
        str | None,
        typer.Option(help="For a repository that needs a password, which is asked for or read."),
    ] = None,
    fetch: Annotated[
        bool,
        typer.Option("--fetch", help="Refuse those that do not answer with their commit."),
    ] = False,
    skip_refused: Annotated[
        bool, typer.Option("--skip-refused", help="Import the others where some are refused.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would come of it, change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add and change many sources at once, from a list or a repository of submodules: all or none.

    Sources that are not named stay as they are.
    """
    body: dict[str, Any] = {
        "under": under,
        "fetch": fetch,
        "skip_refused": skip_refused,
        "dry_run": dry_run,
    }
    if _is_list(what):
        if ref or username:
            raise CommandError("--ref and --username are for a repository of submodules")
        body["sources"] = _listed(Path(what))
    else:
        body["repository"] = {"url": what} | ({"ref": ref} if ref else {})
        if username is not None:
            body["repository"]["credentials"] = {"username": username, **secrets(["password"])}
    with open_client(ctx, timeout=900) as client:
        report = client.start("sources/import", body)
    if as_json:
        output.show_json(report)
    else:
        output.show_table(report["sources"], _SHOWN)
        verb = "Would be" if dry_run else "Sources"
        output.say(
            f"{verb} added: {report['created']}, changed: {report['changed']}, "
            f"unchanged: {report['unchanged']}, refused: {report['refused']}"
        )
    if report["refused"]:
        raise typer.Exit(Exit.WRONG_USE)


def _changes(row: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{change['field']} was {output.plain(change['before'])}"
        if change["field"] != "credentials"
        else "credentials"
        for change in row["changes"]
    )


def _is_list(what: str) -> bool:
    """Whether an argument is a file with a list, rather than a repository's URL.

    Raises:
        CommandError: it is neither.
    """
    if what == "-" or Path(what).is_file():
        return True
    if "://" in what or ":" in what or Path(what).is_absolute():
        return False
    raise CommandError(
        f"there is no file {what}", hint="give a file, or a repository as https://..., git://..."
    )


def _listed(file: Path) -> list[Any]:
    """The sources of a file.

    Raises:
        CommandError: names file and line.
    """
    if file.suffix.lower() == ".csv":
        return _of_csv(file)
    value = read_yaml(file)
    if isinstance(value, dict):
        value = value.get("sources", value.get("plugin_sources"))
    if isinstance(value, dict):  # as `plugfleet export` writes them
        value = [
            {"name": name, **spec} if isinstance(spec, dict) else spec
            for name, spec in value.items()
        ]
    if not isinstance(value, list):
        raise CommandError(
            f"{file} holds no list of sources",
            hint="write `- {path: httpcheck, url: https://...}` for each",
        )
    return value


def _of_csv(file: Path) -> list[Any]:
    try:
        lines = read_input(file).decode("utf-8-sig").splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not UTF-8 (byte {error.start})") from None
    header = lines[0] if lines else ""
    delimiter = ";" if header.count(";") > header.count(",") else ","
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True, restkey="")
    found = []
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        wrong = sorted(set(columns) - set(_COLUMNS)) or sorted({"url"} - set(columns))
        if wrong or len(set(columns)) < len(columns):
            raise CommandError(
                f"{file}:1: the columns are {', '.join(columns) or 'none'}",
                hint=f"write url, and if wanted {', '.join(c for c in _COLUMNS if c != 'url')}, each once",
            )
        for row in reader:
            if "" in row or None in row.values():
                message = f"{file}:{reader.line_num}: not as many fields as the header has"
                raise CommandError(message)
            found.append({name: text.strip() for name, text in row.items() if text.strip()})
    except csv.Error as error:
        raise CommandError(f"{file}:{reader.line_num}: not CSV: {error}") from None
    return found
