"""The engine that plays on this machine, by ansible-runner."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import ansible_runner  # type: ignore[import-untyped]  # it has no types

from controller.deployments.engines.base import Put
from controller.deployments.job import Job, holds_key
from controller.deployments.presence import ENDING
from controller.deployments.processes import children, end_playbook
from controller.deployments.rundir import RunDir
from controller.deployments.tracking import Stopped
from controller.settings import Settings

_PATIENCE = 3.0  # seconds that ansible-playbook may take to end by itself


class LocalEngine:
    """Plays a wave in this process's own folder.

    Args:
        mark: of the wave's processes.
    """

    left = False

    def __init__(self, settings: Settings, job: Job, folder: RunDir, mark: str, put: Put) -> None:
        self._settings = settings
        self._job = job
        self._folder = folder
        self._mark = mark
        self._put = put

    def prepare(self) -> None:
        """Make the folder of the run, with the inventory in it."""
        self._folder.make(self._job.inventory)

    def play(self) -> int | None:
        """Run the playbook; returns its exit status, or None where it was killed."""
        job, folder = self._job, self._folder
        runner = ansible_runner.run(
            private_data_dir=str(folder.path),
            project_dir=str(self._settings.project_dir),
            playbook="deploy-plugins.yml",
            inventory=str(folder.inventory),
            ident="run",
            forks=self._settings.forks,
            cmdline="--check --diff" if job.check else None,
            # The journal has told it all, at the cost of a line instead of a process for each host.
            skip_tags="report",
            fact_cache_type="memory",
            envvars=self._environment(),
            suppress_env_files=True,
            quiet=True,
            event_handler=self._on_event,
            status_handler=self._on_status,
            # Without one, ansible-runner replaces this process's signal handlers; with one that says
            # yes, it kills one process group, which leaves workers behind.
            cancel_callback=lambda: False,
        )
        status: int | None = runner.rc
        return status

    def stop(self, stopped: Stopped, *, hurry: bool) -> None:
        """End the playbook and all that it started."""
        patience = min(_PATIENCE, self._settings.lease * ENDING)
        for pid in children(self._mark):
            end_playbook(pid, self._mark, patience=patience)

    def _environment(self) -> dict[str, str]:
        folder, project = self._folder, self._settings.project_dir
        variables = {
            # Explicit, as Ansible leaves out an ansible.cfg of a folder that others may write to.
            "ANSIBLE_CONFIG": str(project / "ansible.cfg"),
            # ansible-runner would turn it off, whatever ansible.cfg says.
            "ANSIBLE_HOST_KEY_CHECKING": os.environ.get("ANSIBLE_HOST_KEY_CHECKING", "True"),
            # The service's account may have no home that it can write to.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder.sockets),
            "ANSIBLE_LOCAL_TEMP": str(folder.temporary),
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_NOCOLOR": "1",
            "PLUGFLEET_JOURNAL": str(folder.journal),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        }
        if holds_key(self._job):
            variables["ANSIBLE_SSH_AGENT"] = "auto"
        return variables

    def _on_event(self, event: dict[str, Any]) -> bool:
        """Keep an event for the recorder; no file is written for it. Never raises, never waits."""
        with contextlib.suppress(Exception):
            self._put(event)
        return False

    def _on_status(self, status: dict[str, Any], runner_config: Any) -> None:
        # It holds the whole environment. Nothing secret is in there; but nobody needs it either.
        with contextlib.suppress(OSError):
            Path(runner_config.artifact_dir, "command").unlink()
