"""Controllers as processes of their own, which can be killed; as a program, one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from controller.app import create_app, open_context
from controller.operations.logs import configure
from controller.settings import Settings
from tests.controller.deployments.conftest import eventually

_CHECKOUT = Path(__file__).resolve().parents[3]


class ControllerProcess:
    """A controller in a process of its own.

    Attributes:
        process: as subprocess has it.
    """

    def __init__(self, settings: Settings, token: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._port = folder / "port"
        self._settings = folder / "settings.json"
        self._settings.write_text(settings.model_dump_json())
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.controller.deployments.controllers",
                str(self._settings),
                str(self._port),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd=_CHECKOUT,
        )
        port = eventually(30, lambda: self._port.exists() and self._port.read_text())
        self.client = httpx2.Client(
            base_url=f"http://127.0.0.1:{port}/api/v1/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )

    def get(self, path: str) -> Any:
        """The JSON of a GET that must succeed."""
        response = self.client.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, **body: Any) -> Any:
        """The JSON of a POST that must be accepted."""
        response = self.client.post(path, json=body)
        assert response.status_code == 202, response.text
        return response.json()

    def ended(self, deployment: int, seconds: float) -> Any:
        """A deployment once it has ended."""

        def look() -> Any:
            view = self.get(f"deployments/{deployment}")
            return view if view["ended"] else None

        return eventually(seconds, look)

    def statuses(self, deployment: int) -> dict[str, str]:
        """What came of each host."""
        items = self.get(f"deployments/{deployment}/hosts")["items"]
        return {item["host"]: item["status"] for item in items}

    def end(self) -> None:
        """Stop it, if it still runs, and close what this process has open."""
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)
        self._log.close()


def _serve(settings_file: Path, port_file: Path) -> None:
    settings = Settings.model_validate_json(settings_file.read_text())
    configure(settings.log_format, "info")
    config = uvicorn.Config(
        create_app(open_context(settings)),
        port=0,
        log_config=None,
        timeout_graceful_shutdown=2,
    )

    class Told(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            partial = port_file.with_suffix(".new")
            partial.write_text(str(self.servers[0].sockets[0].getsockname()[1]))
            partial.rename(port_file)

    Told(config).run()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), Path(sys.argv[2]))
