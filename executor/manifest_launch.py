"""What a manifest plugin needs before its process can start: a sound manifest and configuration, a
working copy with param.json in it, postExtract where it has one, and a command line whose program
is on this host.
"""

from __future__ import annotations

import os

from agentplugin import commandline
from agentplugin.formats import BOUNDARY, MAX_STEP
from agentplugin.manifest import MAX_BYTES, ConfigError, Manifest, ManifestError, parse
from agentplugin.plans import MANIFEST_NAME
from executor import diagnosis
from executor.attempts import Attempts
from executor.config import SKIP
from executor.leftovers import PLUGIN_MARK, plugin_mark
from executor.manifest_interpreters import resolved
from executor.workcopy import WorkCopy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentplugin.planned import PlannedManifest
    from executor.runtime import Runtime

_HOW_TO_ALLOW = (
    "set executor.postextract to true (it is any code, run as the executor's user), or to "
    f'"{SKIP}" where what it fetches is here already'
)

_NODE_WORDS = {"node", "npm"}


class CannotStart(Exception):
    """What a retry would not change: `state` and `reason` are shown until configuration or code
    are others, or for `retry` seconds where that is not 0.
    """

    def __init__(self, state: str, reason: str, retry: float = 0.0) -> None:
        super().__init__(reason)
        self.state = state
        self.reason = diagnosis.one_line(reason)
        self.retry = retry


class Install:
    """A postExtract that has to run: `argv` in the folder of `copy`, for `timeout` seconds at most;
    `command` as the manifest has it.
    """

    __slots__ = ("argv", "attempts", "command", "copy", "timeout")

    def __init__(
        self, argv: list[str], command: str, copy: WorkCopy, timeout: float, attempts: Attempts
    ) -> None:
        self.argv = argv
        self.command = command
        self.copy = copy
        self.timeout = timeout
        self.attempts = attempts


class Launch:
    """`argv` to run in `folder`; `poll_ms` between two starts; `metrics` that the manifest
    declares.

    copy      the working copy; None for a program that is bound by itself
    modules   the folder of modules that the copy gets, or ""
    params    the text of param.json
    """

    __slots__ = (
        "argv",
        "copy",
        "folder",
        "ignore_errors",
        "metrics",
        "modules",
        "params",
        "poll_ms",
        "post_extract",
    )

    def __init__(self, argv: list[str], folder: str, poll_ms: int) -> None:
        self.argv = argv
        self.folder = folder
        self.poll_ms = poll_ms
        self.metrics: list[str] = []
        self.ignore_errors = False
        self.copy: WorkCopy | None = None
        self.modules = ""
        self.params = ""
        self.post_extract = ""


def plan(runtime: Runtime, planned: PlannedManifest) -> Launch:
    """What manifest and configuration ask for. CannotStart, or OSError where the disk is at fault."""
    source = os.path.join(runtime.plugin_dir, planned.path)
    if os.path.isfile(source):
        folder = os.path.dirname(source)
        return Launch([source, *planned.format.args], folder, planned.format.step * 1000)
    manifest = read_manifest(source, planned.path)
    config = planned.config
    try:
        problems = manifest.check_config(config) if planned.format.name == BOUNDARY else []
        for problem in problems:
            if problem.severity == "error":
                raise CannotStart(diagnosis.FAILED, str(problem))
        poll_ms = planned.format.step * 1000 or manifest.poll_interval_ms(config)
        poll_ms = min(poll_ms, MAX_STEP * 1000)
        text = manifest.param_json(config)
        argv = [*manifest.argv(config), *planned.format.args]
    except ConfigError as trouble:
        raise CannotStart(diagnosis.FAILED, str(trouble)) from None
    except RecursionError:
        raise CannotStart(
            diagnosis.FAILED,
            "its configuration is nested too deep to be written: no param.json needs hundreds of "
            "levels",
        ) from None
    except OverflowError:
        raise CannotStart(
            diagnosis.FAILED, "a number of its configuration is larger than any number may be"
        ) from None
    _refuse_words(runtime, manifest, argv, config)
    copy = WorkCopy(runtime.state_dir, runtime.plugin_dir, planned.path, manifest.ignores)
    launch = Launch(argv, copy.folder, poll_ms)
    launch.copy = copy
    launch.params = text
    launch.metrics = manifest.metrics
    launch.ignore_errors = manifest.ignore_errors
    launch.post_extract = manifest.post_extract.strip()
    modules = runtime.config["executor.node_modules"]
    first_words = {argv[0], commandline.split_words(launch.post_extract)[0]}
    if modules and _NODE_WORDS & first_words and os.path.isdir(modules):
        launch.modules = modules
    return launch


def is_ready(launch: Launch, code: tuple[int, int, int] | None) -> bool:
    """Whether the working copy is one of that `code`, with all modules."""
    copy = launch.copy
    if copy is None or code is None or not copy.is_of(code):
        return False
    return not launch.modules or not copy.lacks(launch.modules)


def make_copy(copy: WorkCopy, modules: str) -> tuple[int, int, int]:
    """Make it that; the `code` that it is of. Takes its time. OSError, LinkRefused."""
    code = copy.refresh()
    if modules:
        copy.seed(modules)
    return code


def finish(
    runtime: Runtime, planned: PlannedManifest, launch: Launch, copy: WorkCopy
) -> Install | None:
    """Write param.json, and find the program in the copy, which is ready, unless a postExtract has
    to run first. CannotStart, or OSError where the disk is at fault.
    """
    copy.write_params(launch.params)
    install = _plan_install(runtime, planned, launch, copy)
    if install is None:
        # Only now: what runs may be what postExtract made, e.g. pyenv/bin/python.
        launch.argv = _resolved(runtime, launch.argv, copy.folder)
    return install


def environment(runtime: Runtime, key: str) -> dict[str, str]:
    """What manifest plugins see beyond other plugins: the mark by which what they leave running is
    found, and where node finds modules, if cfg.json says.
    """
    env = dict(runtime.env)
    env[PLUGIN_MARK] = plugin_mark(key, runtime.state_dir)
    if runtime.config["executor.node_path"]:
        env["NODE_PATH"] = runtime.config["executor.node_path"]
    return env


def read_manifest(source: str, path: str) -> Manifest:
    """The manifest in the folder `source`. CannotStart says what is wrong with it."""
    try:
        with open(os.path.join(source, MANIFEST_NAME), "rb") as stream:
            text = stream.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            most = MAX_BYTES >> 20
            raise CannotStart(diagnosis.FAILED, f"its {MANIFEST_NAME} is larger than {most} MiB")
        manifest = parse(text, f"{path}/{MANIFEST_NAME}")
    except FileNotFoundError:
        raise CannotStart(diagnosis.MISSING, f"{MANIFEST_NAME} is not there any more") from None
    except ManifestError as trouble:
        raise CannotStart(diagnosis.FAILED, trouble.in_one_line) from None
    if manifest.disabled:
        raise CannotStart(diagnosis.PARKED, "is disabled in its manifest")
    if any(name.lower() == "linux" for name in manifest.unsupported_platforms):
        raise CannotStart(
            diagnosis.UNSUPPORTED_PLATFORM, "its manifest says that it does not support Linux"
        )
    if not manifest.effective_command:
        raise CannotStart(diagnosis.FAILED, "its manifest has no command")
    return manifest


def _refuse_words(
    runtime: Runtime, manifest: Manifest, argv: list[str], config: dict[str, Any]
) -> None:
    if any("\0" in word for word in argv):
        raise CannotStart(
            diagnosis.FAILED, "its command line holds a NUL character: no program can be given one"
        )
    if runtime.config["executor.secret_arguments"]:
        return
    values = manifest.values(config)
    # One that nobody filled in gives nothing away.
    secrets = {
        param.key.lower()
        for param in manifest.param_schema
        if param.is_secret and values.get(param.key) not in (None, "", [])
    }
    for name, _optional in commandline.macros(manifest.effective_command):
        if name.lower() in secrets:
            raise CannotStart(
                diagnosis.FAILED,
                f"its command puts the password parameter {name!r} on the command line, which "
                "everyone on the host can read: let it read param.json, or allow that with "
                "executor.secret_arguments",
            )


def _plan_install(
    runtime: Runtime, planned: PlannedManifest, launch: Launch, copy: WorkCopy
) -> Install | None:
    allowed = runtime.config["executor.postextract"]
    command = launch.post_extract
    if not command or allowed == SKIP:
        return None
    head = copy.head
    if head.extracted == command:
        return None
    if not allowed:
        raise CannotStart(
            diagnosis.POSTEXTRACT_NOT_ALLOWED,
            f"wants to run its postExtract {command!r} first: {_HOW_TO_ALLOW}",
        )
    if "\0" in command:
        raise CannotStart(diagnosis.FAILED, "its postExtract holds a NUL character")
    # As in the first manager no macro is expanded here.
    argv = _resolved(runtime, commandline.split_words(command), copy.folder)
    timeout = _extract_timeout(runtime, planned.config)
    most = runtime.config["executor.postextract_max_bytes"]
    attempts = Attempts(
        runtime.state_dir, copy.name, (argv, timeout, most, launch.params, head.code)
    )
    pause = attempts.pause()
    if pause:
        raise CannotStart(
            diagnosis.POSTEXTRACT_FAILED,
            f"its postExtract {command!r} was begun {attempts.count} times and did not end well: "
            f"tried again in {pause:.0f} s, or at once with new configuration or code",
            pause,
        )
    return Install(argv, command, copy, timeout, attempts)


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
        raise CannotStart(diagnosis.UNSUPPORTED_RUNTIME, _why_not_found(argv[0], folder))
    return found


def _why_not_found(program: str, folder: str) -> str:
    if "/" in program and not program.startswith("/"):
        return (
            f"its folder has no {program!r}, which its command starts: commit it, or allow the "
            "postExtract that makes it"
        )
    if os.path.isfile(os.path.join(folder, program)):
        return (
            f"this host has no {program!r} on its PATH, and only './{program}' means the file in the "
            f'plugin\'s folder: write that, or put {{"{program}": "./{program}"}} into '
            "executor.interpreters"
        )
    return f"this host has no {program!r}: install it, or name one in executor.interpreters"
