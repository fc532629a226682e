"""`plugfleet rollback`: an older tree becomes the newest release."""

from __future__ import annotations

from typing import Annotated

import typer

from controller.cli import output
from controller.cli.options import AsJson, open_client
from controller.cli.release import PUBLISH_TIMEOUT, show_published


def rollback(
    ctx: typer.Context,
    number: Annotated[int, typer.Argument(help="The release whose tree is wanted again.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, publish nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish an older release's tree as a new release. `plugfleet deploy` then brings it to hosts."""
    with open_client(ctx, timeout=PUBLISH_TIMEOUT) as client:
        answer = client.start("releases/rollback", {"number": number, "dry_run": dry_run})
    if as_json:
        output.show_json(answer)
    else:
        show_published(answer, dry_run=dry_run)
