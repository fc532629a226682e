"""schemathesis over the whole API: no 5xx, and no answer that the OpenAPI document does not have."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from zlib import crc32

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CheckFunction
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest._test_builder import build_operation_test
from schemathesis.python._constants.orchestrator import make_constants_value_source
from schemathesis.specs.openapi import checks

from controller.app import open_context
from controller.database.base import now
from controller.deployments.models import Deployment, HostResult, RunEvent, Wave
from controller.settings import Settings
from docs.rest_api import openapi
from tests.controller import postgresql
from tests.controller.server import Api, serving

CHECKS: list[CheckFunction] = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
HOST, HOSTGROUP = "web1.example.com", "web"  # the examples of the document


@pytest.fixture(scope="module")
def controllers(
    migrated_sqlite: Path,
    postgresql_server: postgresql.Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[Api]]:
    """A controller on SQLite and one on PostgreSQL that have what the document's examples name."""
    file = tmp_path_factory.mktemp("schemathesis") / "plugfleet.db"
    shutil.copyfile(migrated_sqlite, file)
    name = postgresql_server.create()
    with ExitStack() as serve:
        serve.callback(postgresql_server.drop, name)
        yield [
            serve.enter_context(filled(tmp_path_factory.mktemp("data"), url))
            for url in (f"sqlite:///{file}", postgresql_server.url(name))
        ]


@contextmanager
def filled(folder: Path, url: str) -> Iterator[Api]:
    """A controller with a deployment that has ended."""
    context = open_context(Settings(data_dir=folder, source_timeout=0.5, database_url=url))
    with serving(context) as api:
        with context.database.write() as session:
            # Its release is no row, so that nothing which the test asks for starts a run.
            session.add(Deployment(id=1, release=1, status="failed", started=now(), ended=now()))
            session.flush()
            session.add(Wave(deployment_id=1, number=1, status="failed"))
            steps = [{"step": "sync", "failed": True, "msg": "no git", "seconds": 0.1}]
            session.add(HostResult(deployment_id=1, host=HOST, wave=1, steps=steps, ended=now()))
            session.add(RunEvent(deployment_id=1, kind="deployment.ended"))
        yield api


Known = dict[str, dict[str, object]]


@pytest.fixture
def turns(controllers: list[Api]) -> Iterator[tuple[Api, Known]]:
    """The controllers in turn, each with path parameters of things that are there."""
    return cycle([(api, known(api)) for api in controllers])


def known(api: Api) -> Known:
    """Path parameters of things that are there, whatever was deleted before."""
    client = api.client
    client.post("hosts", json={"name": HOST})
    client.post("hostgroups", json={"name": HOSTGROUP, "rule": "role=web"})
    client.post("tokens", json={"name": "ci", "scope": "viewer"})
    client.post("sources", json={"name": "plugins", "path": "p", "url": "file:///nowhere"})
    rule = client.post("adoption-rules", json={"pattern": "web-*"}).json()
    bound = client.post("bindings", json={"hostgroup": HOSTGROUP, "plugin": "sys/disk"}).json()
    return {
        "hosts": {"name": HOST},
        "hostgroups": {"name": HOSTGROUP},
        "tokens": {"name": "ci"},
        "sources": {"name": "plugins"},
        "bindings": {"id": bound.get("id", 1)},
        "adoption-rules": {"id": rule.get("id", 1)},
        "deployments": {"id": 1},
        "plans": {"host": HOST},
    }


@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def answer_is_as_described(case: schemathesis.Case, turns: Iterator[tuple[Api, Known]]) -> None:
    api, there = next(turns)
    # Made-up names are hardly ever there: every second request asks for something that is.
    if case.path_parameters and crc32(repr((case.path_parameters, case.body)).encode()) % 2:
        case.path_parameters |= there.get(case.operation.path.split("/")[3], {})
    case.call_and_validate(
        base_url=api.url,
        headers={"Authorization": f"Bearer {api.token}"},
        checks=CHECKS,
        timeout=10,
    )


schema = schemathesis.openapi.from_dict(openapi())
OPERATIONS = {found.label: found for found in (each.ok() for each in schema.get_all_operations())}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_answer_is_as_described(operation: str, turns: Iterator[tuple[Api, Known]]) -> None:
    """As with `schema.parametrize()`, which makes up all requests whenever the tests are collected."""
    test = build_operation_test(
        config=schema.config,
        operation=OPERATIONS[operation],
        test_func=answer_is_as_described,
        given_kwargs={},
        feedback=FeedbackSources(constants_value_source=make_constants_value_source(schema)),
    )
    test(turns=turns)
