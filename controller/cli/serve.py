"""`plugfleet serve`: runs the controller."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller.cli import configuration, output
from controller.cli.configuration import ConfigFile
from controller.cli.exits import CommandError, Exit

if TYPE_CHECKING:
    from controller.agents.flow import Agents
    from controller.settings import Settings
    from controller.web.deps import Context

_GRACE = 10  # seconds that requests under way are given when it is told to end
_LOOK_AGAIN = 2.0  # seconds between two tries to reach a database that is away at the start


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="TCP port to listen on; 0 takes a free one."),
    ] = None,
    config: ConfigFile = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print URL and first token as one JSON object, for programs."),
    ] = False,
) -> None:
    """Run the controller until it is told to end (SIGTERM, Ctrl-C).

    The first start makes a token for an admin and prints it on standard output, this once. Logs go
    to standard error.
    """
    settings = configuration.load(config, host=host, port=port)
    from controller.agents.flow import begin
    from controller.operations import logs

    logs.configure(settings.log_format, settings.log_level)
    with configuration.told(settings):
        agents = begin(settings)
        context = _open(settings, agents)
    try:
        with _listen(settings.host, settings.port) as listener:
            _run(context, listener, agents, as_json=as_json)
    finally:
        context.database.close()


def _open(settings: Settings, agents: Agents | None) -> Context:
    """Open what a controller works with.

    Where agents can be told what they were told before, a database that is away is waited for: they
    need an answer, and a process that ended would give none.
    """
    import structlog
    from sqlalchemy.exc import OperationalError

    from controller.app import open_context
    from controller.errors import Unavailable

    while True:
        try:
            return open_context(settings)
        except (OperationalError, Unavailable) as error:
            if agents is None or not agents.kept:
                raise
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            log = structlog.get_logger(__name__)
            log.warning("waiting for the database; agents get their last lists", reason=reason)
            time.sleep(_LOOK_AGAIN)


def _run(
    context: Context, listener: socket.socket, agents: Agents | None, *, as_json: bool
) -> None:
    """Answer requests until a signal comes.

    Raises:
        CommandError: the controller could not begin its work.
    """
    import uvicorn

    from controller.app import create_app
    from controller.errors import PlugfleetError

    app = create_app(context)
    app.state.agents = agents
    inner = app.router.lifespan_context
    refused: list[PlugfleetError] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        try:
            async with inner(app) as state:
                # Nothing of the modules ever goes: looking for it holds everybody up for 0.13 s.
                gc.collect()
                gc.freeze()
                await asyncio.to_thread(_announce, context, _url(listener), as_json=as_json)
                yield state
        except PlugfleetError as error:
            refused.append(error)
            raise

    app.router.lifespan_context = lifespan
    # uvicorn would log a trace of what is told in a sentence below.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not refused)
    # uvicorn raises the signal again when it has ended in good order, which then is no fault.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    # Requests under way end first; event streams, which never end, are cut after the grace.
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=_GRACE))
    # uvicorn ends the process by itself where the application does not start.
    with suppress(SystemExit):
        server.run(sockets=[listener])
    if refused:
        raise CommandError(refused[0].message, hint=refused[0].hint, exit_code=Exit.NOT_REACHABLE)
    if not server.started:
        raise CommandError(
            "the controller did not start; its log says why", exit_code=Exit.NOT_REACHABLE
        )


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        CommandError: the port is taken, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CommandError(f"cannot listen on {host}: {error.strerror or error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise CommandError(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            hint="is a controller running already? --port or PLUGFLEET_PORT takes another one",
        ) from None
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(context: Context, url: str, *, as_json: bool) -> None:
    """Say where it listens, and the first token if this is the first start.

    The token is printed before it is kept: one that nobody saw would lock everybody out.
    """
    from controller.auth.service import first_token

    with context.database.write() as session:
        token = first_token(session)
        if as_json:
            typer.echo(json.dumps({"url": url, "token": token}))
        else:
            output.note(f"plugfleet listens on {url}")
            if token:
                typer.echo("The first admin token, which is shown this once. Keep it:")
                typer.echo(f"\n    {token}\n")
        sys.stdout.flush()
