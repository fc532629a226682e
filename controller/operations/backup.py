"""`python -m controller.operations.backup FOLDER`: a copy of a controller that runs on meanwhile.

The folder can be used as a data folder as it is. Database first, then the deploy line: a release
that is published in between is on the line and not in the copied table, and such releases are taken
up at the start (see catalog.flow). docs/controller.md says how to restore.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from sqlalchemy import make_url

from controller.errors import PlugfleetError
from controller.settings import Settings, check_settings_file

DATABASE, DUMP, KEY = "plugfleet.db", "plugfleet.dump", "secret.key"


class BackupError(PlugfleetError):
    """A part could not be copied; nothing was left behind."""

    code, title = "backup", "The backup could not be made"


def back_up(settings: Settings, folder: Path, *, with_key: bool) -> None:
    """Make a folder with a copy of the database and the deploy line, whole or not at all.

    Args:
        folder: must not be there yet.
        with_key: also the keys of the secrets, which otherwise must be kept apart.

    Raises:
        BackupError: says which part could not be copied, and why.
    """
    if folder.exists():
        raise BackupError(f"{folder} is there already", hint="name a new folder")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(mode=0o700, parents=True)
        _database(settings, partial)
        _deploy_line(settings, partial)
        if with_key:
            shutil.copy2(settings.key_file, partial / KEY)
        partial.rename(folder)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{folder} could not be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _database(settings: Settings, folder: Path) -> None:
    url = make_url(settings.database)
    if url.drivername.startswith("sqlite"):
        if not url.database or not Path(url.database).is_file():
            raise BackupError(f"there is no database {url.database}")
        with closing(sqlite3.connect(url.database, timeout=60)) as connection:
            # One read transaction, and a file without a WAL of its own (sqlite.org/lang_vacuum.html).
            connection.execute("VACUUM INTO ?", (str(folder / DATABASE),))
        (folder / DATABASE).chmod(0o600)
        return
    # The password goes by the environment: others can read a command line.
    place = url.set(drivername="postgresql", password=None).render_as_string()
    environment = os.environ | ({"PGPASSWORD": str(url.password)} if url.password else {})
    command = ["pg_dump", "--format=custom", f"--file={folder / DUMP}", f"--dbname={place}"]
    _run(command, "the database", environment)


def _deploy_line(settings: Settings, folder: Path) -> None:
    repository = settings.catalog_dir / "deploy.git"
    if not repository.exists():
        return  # nothing was published yet
    target = folder / "catalog" / "deploy.git"
    target.parent.mkdir(mode=0o700)
    command = ["git", "clone", "--quiet", "--mirror", "--no-hardlinks", "--template="]
    _run([*command, str(repository), str(target)], "the deploy line", dict(os.environ))
    # What it was copied from is nobody's concern, and would be fetched from.
    _run(["git", "-C", str(target), "remote", "remove", "origin"], "the deploy line", {})


def _run(command: list[str], what: str, environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise BackupError(f"{what} could not be copied: {command[0]} is not installed") from None
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"{command[0]} ended with {done.returncode}"]
        raise BackupError(f"{what} could not be copied: {words[-1]}")


def main() -> int:
    """The command; exit code 0 done, 1 not."""
    parser = argparse.ArgumentParser(prog="python -m controller.operations.backup")
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--with-key", action="store_true", help="also the keys of the secrets")
    options = parser.parse_args()
    try:
        check_settings_file()
        back_up(Settings(), options.folder.absolute(), with_key=options.with_key)
    except PlugfleetError as error:
        hint = f"; {error.hint}" if error.hint else ""
        print(f"backup: {error.message}{hint}", file=sys.stderr)
        return 1
    if not options.with_key:
        print("The keys of the secrets are not in it: keep a copy of them apart.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
