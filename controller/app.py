"""The controller's application: what it opens, which routes it has, and how it is described."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from controller.audit.api import router as audit
from controller.auth.api import router as tokens
from controller.auth.vault import load_vault
from controller.catalog.publish import Catalog
from controller.database.engine import Database
from controller.database.migrate import upgrade
from controller.operations.health import router as health
from controller.settings import Settings
from controller.web import problems
from controller.web.deps import Context
from controller.web.problems import Problem
from controller.web.requests import RequestLog

API = "/api/v1"
_ROUTERS: tuple[APIRouter, ...] = (tokens, audit)


def open_context(settings: Settings) -> Context:
    """Open what a controller works with: data folder, keys, database brought to this version.

    Raises:
        PlugfleetError: one of them cannot be used; says why.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    vault = load_vault(
        settings.secret_key, settings.secret_key_file or settings.data_dir / "secret.key"
    )
    database = Database(settings.database)
    upgrade(database.engine)
    return Context(settings, database, vault, Catalog(settings.catalog_dir))


def create_app(context: Context) -> FastAPI:
    """The application around what is open."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        context.database.close()

    app = FastAPI(
        title="plugfleet",
        summary="Gets monitoring plugins onto a fleet and proves that they deliver data there.",
        version=version("plugfleet"),
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.context = context
    app.add_middleware(RequestLog)
    problems.install(app)
    app.include_router(health)
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
        app.openapi_schema = schema
    return app.openapi_schema
