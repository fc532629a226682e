"""`plugfleet secrets`: rotates the keys that secrets are encrypted with; on the controller's machine."""

from __future__ import annotations

from typing import Annotated

import typer

from controller.cli import configuration, output
from controller.cli.configuration import ConfigFile
from controller.cli.exits import CommandError
from controller.cli.options import AsJson

app = typer.Typer(help="Rotate the keys that secrets are encrypted with.", no_args_is_help=True)


@app.command()
def rotate(
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Also remove the older keys from the key file.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt every secret anew with the newest key. Works on the database itself.

    Before: `plugfleet init --new-key`. Controllers take a changed key file while they run; those with
    a file of their own need the new key in it first, those with PLUGFLEET_SECRET_KEY a restart.
    """
    settings = configuration.load(config)
    if drop_old and settings.secret_key:
        raise CommandError(
            "--drop-old cannot change PLUGFLEET_SECRET_KEY",
            hint="rotate without it, then take the older keys out of the variable yourself",
        )
    with configuration.existing(config) as context:
        from controller.auth.principal import CONSOLE
        from controller.operations.keys import drop_old_keys, reseal

        with context.database.write() as session:
            counts = reseal(session, CONSOLE, context.vault)
        dropped = 0
        if drop_old:
            with context.database.read() as session:
                dropped = drop_old_keys(session, settings.key_file)
    if as_json:
        output.show_json({"sealed": counts, "dropped_keys": dropped})
        return
    output.say(
        f"{sum(counts.values())} secrets are encrypted with the newest key"
        + (f"; {dropped} older keys are gone." if drop_old else ".")
    )
