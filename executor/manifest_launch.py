"""What a manifest plugin needs before its process can start: a sound manifest and configuration, a
working copy with param.json in it, and a command line whose program is on this host.
"""

from __future__ import annotations

import os

from agentplugin.manifest import ConfigError, Manifest, ManifestError, parse
from agentplugin.plans import MANIFEST_NAME
from executor import diagnosis, workcopy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentplugin.plans import PlannedManifest
    from executor.runtime import Runtime


class CannotStart(Exception):
    """What a retry would not change: `state` and `reason` are shown until configuration or code
    are others.
    """

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(reason)
        self.state = state
        self.reason = diagnosis.one_line(reason)


class Launch:
    """`argv` to run in `folder`; `poll_ms` between two starts; `metrics` that the manifest
    declares.
    """

    __slots__ = ("argv", "folder", "ignore_errors", "metrics", "poll_ms")

    def __init__(self, argv: list[str], folder: str, manifest: Manifest, poll_ms: int) -> None:
        self.argv = argv
        self.folder = folder
        self.poll_ms = poll_ms
        self.metrics = manifest.metrics
        self.ignore_errors = manifest.ignore_errors


def prepare(runtime: Runtime, planned: PlannedManifest, code: tuple[int, int, int]) -> Launch:
    """Make everything ready. CannotStart, or OSError where the disk is at fault."""
    source = os.path.join(runtime.plugin_dir, planned.path)
    manifest = _manifest(source, planned.path)
    config = planned.config
    for problem in manifest.check_config(config):
        if problem.severity == "error":
            raise CannotStart(diagnosis.FAILED, str(problem))
    try:
        poll_ms = manifest.poll_interval_ms(config)
        text = manifest.param_json(config)
        argv = manifest.argv(config)
    except ConfigError as trouble:
        raise CannotStart(diagnosis.FAILED, str(trouble)) from None
    folder = os.path.join(runtime.state_dir, "manifest", planned.path)
    workcopy.refresh(source, folder, code)
    workcopy.write_secret(os.path.join(folder, "param.json"), text)
    return Launch(_resolved(runtime, argv, folder), folder, manifest, poll_ms)


def _manifest(source: str, path: str) -> Manifest:
    try:
        with open(os.path.join(source, MANIFEST_NAME), "rb") as stream:
            manifest = parse(stream.read(), f"{path}/{MANIFEST_NAME}")
    except FileNotFoundError:
        raise CannotStart(diagnosis.MISSING, f"{MANIFEST_NAME} is not there any more") from None
    except ManifestError as trouble:
        raise CannotStart(diagnosis.FAILED, str(trouble)) from None
    if manifest.disabled:
        raise CannotStart(diagnosis.PARKED, "is disabled in its manifest")
    if any(name.lower() == "linux" for name in manifest.unsupported_platforms):
        raise CannotStart(
            diagnosis.UNSUPPORTED_RUNTIME, "its manifest says that it does not support Linux"
        )
    if not manifest.effective_command:
        raise CannotStart(diagnosis.FAILED, "its manifest has no command")
    return manifest


def _resolved(runtime: Runtime, argv: list[str], folder: str) -> list[str]:
    """The command line with a program that is really here; the host's interpreter map comes first."""
    mapped = runtime.config["executor.interpreters"].get(argv[0])
    if mapped:
        argv = [*mapped, *argv[1:]]
    program = argv[0]
    if "/" in program:
        full = os.path.join(folder, program)
        found = full if os.path.exists(full) else ""
    else:
        found = workcopy.which(program, runtime.env.get("PATH", os.defpath))
    if not found:
        raise CannotStart(
            diagnosis.UNSUPPORTED_RUNTIME,
            f"this host has no {program!r}: install it, or name one in executor.interpreters",
        )
    return [found, *argv[1:]]
