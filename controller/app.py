"""The controller's application: what it opens, which routes it has, and how it is described."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.utils import get_openapi

from controller.agents.api import router as agents
from controller.agents.flow import Agents, begin
from controller.audit.api import router as audit
from controller.auth.api import router as tokens
from controller.auth.vault import load_vault
from controller.bindings.api import router as bindings
from controller.bindings.overrideapi import router as overrides
from controller.catalog.api import router as sources
from controller.catalog.deps import publisher_of
from controller.catalog.importapi import router as source_imports
from controller.catalog.publish import Catalog
from controller.catalog.releaseapi import router as releases
from controller.database.engine import Database
from controller.database.migrate import upgrade
from controller.deployments.api import router as deployments
from controller.deployments.flow import Dispatcher
from controller.deployments.stream import Streams
from controller.fleet.api import router as hosts
from controller.fleet.hostgroupapi import router as hostgroups
from controller.fleet.importapi import router as imports
from controller.gitops.api import router as configuration
from controller.inventory.api import Bodies
from controller.inventory.api import router as inventory
from controller.operations.api import router as metrics
from controller.operations.health import router as health
from controller.overview.api import router as overview
from controller.plans.api import router as plans
from controller.plans.flow import PlanWatch
from controller.plugins.api import router as plugins
from controller.plugins.healthapi import router as plugin_health
from controller.plugins.offered import Offers
from controller.portal.api import router as portal
from controller.reports.api import router as reports
from controller.schedules.api import router as schedules
from controller.schedules.flow import Scheduler
from controller.schemas.api import router as schemas
from controller.settings import Settings
from controller.web import problems
from controller.web.deps import Context, Turns
from controller.web.problems import Problem, answers
from controller.web.requests import BodyLimit, RequestLog

API = "/api/v1"
_ROUTERS: tuple[APIRouter, ...] = (
    tokens,
    audit,
    imports,
    hosts,
    overrides,
    hostgroups,
    agents,
    reports,
    overview,
    configuration,
    sources,
    source_imports,
    releases,
    bindings,
    plugins,
    plugin_health,
    plans,
    schemas,
    inventory,
    portal,
    deployments,
    schedules,
)
# Seconds that a publish waits for another one, which ansible-playbook may be carrying out.
_PUBLISH_WAIT = 10


def open_context(settings: Settings) -> Context:
    """Open what a controller works with: data folder, keys, database brought to this version.

    Raises:
        PlugfleetError: one of them cannot be used; says why.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    vault = load_vault(settings.secret_key, settings.key_file)
    database = Database(settings.database)
    upgrade(database.engine)
    catalog = Catalog(settings.catalog_dir, wait=_PUBLISH_WAIT)
    return Context(settings, database, vault, catalog)


def create_app(context: Context) -> FastAPI:
    """The application around what is open, which is `state.context` when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Not the argument: tests, which need one after another, build the routes only once.
        context: Context = app.state.context
        app.state.inventories = Bodies()
        app.state.offers = Offers()
        app.state.turns = Turns()
        await run_in_threadpool(publisher_of(context).sync_at_start)
        watch = PlanWatch(context.database, context.vault)
        watch.start()
        dispatcher = Dispatcher(context.settings, context.database, context.vault)
        scheduler = Scheduler(context.settings, context.database, context.vault, dispatcher.wake)
        streams = Streams(context.database)
        # `plugfleet serve` begins to answer agents before the database does.
        heard: Agents | None = app.state.agents
        try:
            if heard is None:
                heard = app.state.agents = await run_in_threadpool(begin, context.settings)
            if heard is not None:
                publisher = publisher_of(context)
                await run_in_threadpool(heard.follow, context.database, context.vault, publisher)
            await run_in_threadpool(dispatcher.start)
            app.state.dispatcher, app.state.streams = dispatcher, streams
            app.state.schedules = scheduler
            scheduler.start()
            yield
        finally:
            await streams.close()
            if heard is not None:
                await run_in_threadpool(heard.stop)
                app.state.agents = None
            await run_in_threadpool(scheduler.stop)
            await run_in_threadpool(dispatcher.stop)
            await run_in_threadpool(watch.stop)
            context.database.close()

    app = FastAPI(
        title="plugfleet",
        summary="Gets monitoring plugins onto a fleet and proves that they deliver data there.",
        version=version("plugfleet"),
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.context = context
    app.state.agents = None
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestLog)
    problems.install(app)
    app.include_router(health)
    app.include_router(metrics)
    for router in _ROUTERS:
        app.include_router(router, prefix=API)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The description of all routes, with our error shape in place of the framework's."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        schemas = schema["components"]["schemas"]
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= problem.pop("$defs", {})
        schemas["Problem"] = problem
        for operation in _operations(schema):
            if "requestBody" in operation:  # what the middleware refuses
                operation["responses"] |= {str(status): a for status, a in answers(413).items()}
        app.openapi_schema = schema
    return app.openapi_schema


def _operations(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in schema["paths"].values():
        yield from path.values()
