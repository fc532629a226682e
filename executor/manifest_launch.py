"""What a manifest plugin needs before its process can start: a sound manifest and configuration, a
working copy with param.json in it, postExtract where it has one, and a command line whose program
is on this host.
"""

from __future__ import annotations

import os

from agentplugin import commandline
from agentplugin.formats import BOUNDARY
from agentplugin.manifest import ConfigError, Manifest, ManifestError, parse
from agentplugin.plans import MANIFEST_NAME
from executor import diagnosis
from executor.config import SKIP
from executor.manifest_interpreters import resolved
from executor.workcopy import WorkCopy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentplugin.plans import PlannedManifest
    from executor.runtime import Runtime

_HOW_TO_ALLOW = (
    "set executor.postextract to true (it is any code, run as the executor's user), or to "
    f'"{SKIP}" where what it fetches is here already'
)


MAX_MANIFEST_BYTES = 4 << 20
"""What one may cost in memory; public ones have some KiB."""

_NODE_WORDS = {"node", "npm"}


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

    extract  the argument vector of a postExtract that has to run first, or []
    copy     the working copy; None for a program that is bound by itself
    """

    __slots__ = (
        "argv",
        "copy",
        "extract",
        "extract_command",
        "extract_timeout",
        "folder",
        "ignore_errors",
        "metrics",
        "poll_ms",
    )

    def __init__(self, argv: list[str], folder: str, poll_ms: int) -> None:
        self.argv = argv
        self.folder = folder
        self.poll_ms = poll_ms
        self.metrics: list[str] = []
        self.ignore_errors = False
        self.copy: WorkCopy | None = None
        self.extract: list[str] = []
        self.extract_command = ""
        self.extract_timeout = 0.0


def prepare(runtime: Runtime, planned: PlannedManifest, code: tuple[int, int, int]) -> Launch:
    """Make everything ready. CannotStart, or OSError where the disk is at fault."""
    source = os.path.join(runtime.plugin_dir, planned.path)
    if os.path.isfile(source):
        folder = os.path.dirname(source)
        return Launch([source, *planned.format.args], folder, planned.format.step * 1000)
    manifest = read_manifest(source, planned.path)
    config = planned.config
    problems = manifest.check_config(config) if planned.format.name == BOUNDARY else []
    for problem in problems:
        if problem.severity == "error":
            raise CannotStart(diagnosis.FAILED, str(problem))
    try:
        poll_ms = planned.format.step * 1000 or manifest.poll_interval_ms(config)
        text = manifest.param_json(config)
        argv = [*manifest.argv(config), *planned.format.args]
    except ConfigError as trouble:
        raise CannotStart(diagnosis.FAILED, str(trouble)) from None
    _refuse_words(runtime, manifest, argv)
    copy = WorkCopy(runtime.state_dir, planned.path, manifest.ignores)
    copy.refresh(source, code)
    copy.write_params(text)
    launch = Launch(argv, copy.folder, poll_ms)
    launch.copy = copy
    launch.metrics = manifest.metrics
    launch.ignore_errors = manifest.ignore_errors
    _plan_extract(runtime, manifest, config, launch)
    if not launch.extract:
        # Only now: what runs may be what postExtract made, e.g. pyenv/bin/python.
        launch.argv = _resolved(runtime, argv, copy.folder)
    return launch


def environment(runtime: Runtime) -> dict[str, str]:
    """What manifest plugins see beyond other plugins: where node finds modules, if cfg.json says."""
    node_path = runtime.config["executor.node_path"]
    return dict(runtime.env, NODE_PATH=node_path) if node_path else runtime.env


def read_manifest(source: str, path: str) -> Manifest:
    """The manifest in the folder `source`. CannotStart says what is wrong with it."""
    try:
        with open(os.path.join(source, MANIFEST_NAME), "rb") as stream:
            text = stream.read(MAX_MANIFEST_BYTES + 1)
        if len(text) > MAX_MANIFEST_BYTES:
            most = MAX_MANIFEST_BYTES >> 20
            raise CannotStart(diagnosis.FAILED, f"its {MANIFEST_NAME} is larger than {most} MiB")
        manifest = parse(text, f"{path}/{MANIFEST_NAME}")
    except FileNotFoundError:
        raise CannotStart(diagnosis.MISSING, f"{MANIFEST_NAME} is not there any more") from None
    except ManifestError as trouble:
        raise CannotStart(diagnosis.FAILED, str(trouble)) from None
    if manifest.disabled:
        raise CannotStart(diagnosis.PARKED, "is disabled in its manifest")
    if any(name.lower() == "linux" for name in manifest.unsupported_platforms):
        raise CannotStart(
            diagnosis.UNSUPPORTED_PLATFORM, "its manifest says that it does not support Linux"
        )
    if not manifest.effective_command:
        raise CannotStart(diagnosis.FAILED, "its manifest has no command")
    return manifest


def _refuse_words(runtime: Runtime, manifest: Manifest, argv: list[str]) -> None:
    if any("\0" in word for word in argv):
        raise CannotStart(
            diagnosis.FAILED, "its command line holds a NUL character: no program can be given one"
        )
    if runtime.config["executor.secret_arguments"]:
        return
    secrets = {param.key.lower() for param in manifest.param_schema if param.type == "password"}
    for name, _optional in commandline.macros(manifest.effective_command):
        if name.lower() in secrets:
            raise CannotStart(
                diagnosis.FAILED,
                f"its command puts the password parameter {name!r} on the command line, which "
                "everyone on the host can read: let it read param.json, or allow that with "
                "executor.secret_arguments",
            )


def _plan_extract(
    runtime: Runtime, manifest: Manifest, config: dict[str, Any], launch: Launch
) -> None:
    allowed = runtime.config["executor.postextract"]
    command = manifest.post_extract.strip()
    assert launch.copy is not None  # the caller has just made it
    modules = runtime.config["executor.node_modules"]
    node = _NODE_WORDS & {launch.argv[0], commandline.split_words(command)[0]}
    if node and modules and os.path.isdir(modules):
        launch.copy.seed(modules)
    if not command or allowed == SKIP or launch.copy.extracted == command:
        return
    if not allowed:
        raise CannotStart(
            diagnosis.POSTEXTRACT_NOT_ALLOWED,
            f"wants to run its postExtract {command!r} first: {_HOW_TO_ALLOW}",
        )
    # As in the first manager no macro is expanded here.
    words = commandline.split_words(command)
    if "\0" in command:
        raise CannotStart(diagnosis.FAILED, "its postExtract holds a NUL character")
    launch.extract_command = command
    launch.extract = _resolved(runtime, words, launch.folder)
    launch.extract_timeout = _extract_timeout(runtime, config)


def _extract_timeout(runtime: Runtime, config: dict[str, Any]) -> float:
    """Seconds: the configuration's own postExtractTimeout, in ms, comes before cfg.json's."""
    own = config.get("postExtractTimeout")
    if isinstance(own, (int, float)) and not isinstance(own, bool) and 0 < own <= 3_600_000:
        return own / 1000.0
    return float(runtime.config["executor.postextract_timeout"])


def _resolved(runtime: Runtime, argv: list[str], folder: str) -> list[str]:
    found = resolved(
        argv,
        runtime.config["executor.interpreters"],
        folder,
        runtime.env.get("PATH", os.defpath),
    )
    if not found:
        raise CannotStart(
            diagnosis.UNSUPPORTED_RUNTIME,
            f"this host has no {argv[0]!r}: install it, or name one in executor.interpreters",
        )
    return found
