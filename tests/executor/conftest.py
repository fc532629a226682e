"""Fixtures: the executor built once, hosts that are torn down by the process they started."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executor.build import build
from tests.executor.harness import Host
from tests.executor.plugin_source import Source


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("build") / "executor.pyz"
    build(str(target))
    return target


@pytest.fixture
def new_host(tmp_path: Path, pyz: Path) -> Iterator[Callable[[str], Host]]:
    """Makes hosts below tmp_path."""
    hosts: list[Host] = []

    def make(name: str) -> Host:
        host = Host(tmp_path / name, pyz)
        hosts.append(host)
        return host

    yield make
    for host in hosts:
        host.close()


@pytest.fixture
def host(new_host: Callable[[str], Host]) -> Host:
    return new_host("host")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


@pytest.fixture
def bare_host(host: Host, source: Source) -> Host:
    """A host whose plugin.dir does not exist yet."""
    shutil.rmtree(host.root / "plugin")
    host.cfg["plugin"]["git"] = str(source.mirror)
    host.write_cfg()
    return host
