"""cfg.json: the file of an Open-Falcon agent (agent/g/cfg.go) plus one section `executor`.

A missing section gets safe defaults, unknown keys are ignored, a wrong value is refused with its
field's name. Relative paths belong to the folder of the file (the real agent takes its working
directory).
"""

from __future__ import annotations

import json
import os
import re

from executor.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]*):([0-9]{1,5})")
_HTTP_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(?::([0-9]{1,5}))?(/\S*)?")
_CREDENTIALS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/@\s'\"]*@")

MIN_SPOOL_BYTES = 64 * 1024
SKIP = "skip"
"""`executor.postextract`: start plugins without it, because what it would fetch is here already."""

# section, key, kind, default. Kinds: bool, str, count (whole number above 0), path, ...
_FIELDS: tuple[tuple[str, str, str, Any], ...] = (
    ("", "debug", "bool", False),
    ("", "hostname", "str", ""),
    ("", "ip", "str", ""),
    ("", "default_tags", "tags", {}),
    ("plugin", "enabled", "bool", False),
    ("plugin", "dir", "path", "plugin"),
    ("plugin", "git", "str", ""),
    ("plugin", "logs", "path", "logs"),
    ("heartbeat", "enabled", "bool", False),
    ("heartbeat", "addr", "addr", "127.0.0.1:6030"),
    ("heartbeat", "interval", "count", 60),
    ("heartbeat", "timeout", "count", 1000),
    ("heartbeat.tls", "authority", "path", ""),
    ("heartbeat.tls", "certificate", "path", ""),
    ("heartbeat.tls", "key", "path", ""),
    ("transfer", "enabled", "bool", False),
    ("transfer", "addrs", "addrs", ["127.0.0.1:8433"]),
    ("transfer", "timeout", "count", 1000),
    ("http", "enabled", "bool", True),
    ("http", "listen", "addr", "127.0.0.1:1988"),
    ("executor", "bindings", "path", "bindings.json"),
    ("executor", "state", "path", "state"),
    ("executor", "falcon_push", "url", ""),
    ("executor", "agent_push", "url", ""),
    ("executor", "prometheus", "bool", True),
    ("executor", "spool_max_bytes", "count", 16 * 1024 * 1024),
    ("executor", "first_run_within", "seconds", 5),
    ("executor", "restart_pause", "seconds", 2),
    ("executor", "interpreters", "interpreters", {}),
    ("executor", "postextract", "postextract", False),
    ("executor", "postextract_timeout", "seconds", 300),
    ("executor", "postextract_max_bytes", "count", 1 << 30),
    ("executor", "node_path", "path", ""),
    ("executor", "node_modules", "path", ""),
    ("executor", "aggregate", "bool", False),
    ("executor", "silence_limit", "seconds", 0),
    ("executor", "secret_arguments", "bool", False),
    ("executor.boundary", "url", "tls-url", ""),
    ("executor.boundary", "email", "str", ""),
    ("executor.boundary", "token", "str", ""),
    ("executor.jsonl", "path", "path", ""),
    ("executor.jsonl", "max_bytes", "count", 10 * 1024 * 1024),
)


class Config:
    """What cfg.json says, checked: `config["plugin.dir"]`, `config["debug"]`; paths are absolute."""

    __slots__ = ("_values", "path", "raw")

    def __init__(self, path: str, values: dict[str, Any], raw: dict[str, Any]) -> None:
        self.path = path
        self.raw = raw
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def hostname(self) -> str:
        """The endpoint, by the agent's order: cfg.json, the variable FALCON_ENDPOINT, the
        machine's name.
        """
        return self._values["hostname"] or os.environ.get("FALCON_ENDPOINT") or os.uname().nodename

    def shown(self) -> dict[str, Any]:
        """The file's content for `/config/reload`, without a git URL's credentials and tokens."""
        shown = json.loads(json.dumps(self.raw))
        plugin = shown.get("plugin")
        if isinstance(plugin, dict) and isinstance(plugin.get("git"), str):
            plugin["git"] = without_credentials(plugin["git"])
        executor = shown.get("executor")
        boundary = executor.get("boundary") if isinstance(executor, dict) else None
        if isinstance(boundary, dict) and boundary.get("token"):
            boundary["token"] = "***"
        return shown  # type: ignore[no-any-return]  # json.loads gives back what the dict above was


def without_credentials(text: str) -> str:
    """`https://user:secret@host/x` -> `https://***@host/x`, wherever it stands in `text`."""
    return _CREDENTIALS.sub(r"\1***@", text)


def load(path: str) -> Config:
    """Read and check `path`; ConfigError says the file, the field and what to do."""
    try:
        with open(path, "rb") as stream:
            text = stream.read()
    except OSError as error:
        raise ConfigError(path, "", f"cannot be read: {error.strerror}") from None
    try:
        raw = json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(path, "", f"is not UTF-8 (byte {error.start})") from None
    except ValueError as error:
        raise ConfigError(path, "", f"is not valid JSON: {error}") from None
    except RecursionError:
        raise ConfigError(path, "", "is not valid JSON: nested too deeply") from None
    if not isinstance(raw, dict):
        raise ConfigError(path, "", f"must hold one JSON object, not {_kind(raw)}")
    return Config(os.path.abspath(path), _checked(path, raw), raw)


def _checked(path: str, raw: dict[str, Any]) -> dict[str, Any]:
    base = os.path.dirname(os.path.abspath(path))
    values = {}
    for section, key, kind, default in _FIELDS:
        name = f"{section}.{key}" if section else key
        value = _section(path, raw, section).get(key)
        if value is None:
            value = default
        problem = _CHECKS[kind](value)
        if problem:
            raise ConfigError(path, name, problem)
        if kind == "path" and value:
            value = os.path.normpath(os.path.join(base, value))
        values[name] = value
    _check_together(path, values)
    return values


def _section(path: str, raw: dict[str, Any], section: str) -> dict[str, Any]:
    found: Any = raw
    for part in filter(None, section.split(".")):
        found = found.get(part)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise ConfigError(path, section, f"must be an object, not {_kind(found)}")
    return found  # type: ignore[no-any-return]  # checked above at every level


def _check_together(path: str, values: dict[str, Any]) -> None:
    if values["executor.spool_max_bytes"] < MIN_SPOOL_BYTES:
        raise ConfigError(
            path, "executor.spool_max_bytes", f"must be at least {MIN_SPOOL_BYTES} bytes"
        )
    if values["plugin.dir"] in ("/", os.path.dirname(os.path.abspath(path))):
        raise ConfigError(
            path,
            "plugin.dir",
            "must be a directory of its own: an update replaces it as a whole",
        )
    if values["transfer.enabled"] and not values["transfer.addrs"]:
        raise ConfigError(path, "transfer.addrs", "is empty although transfer.enabled is true")


def split_address(addr: str) -> tuple[str, int]:
    """`"host:1988"` -> `("host", 1988)`; brackets of an IPv6 address go."""
    host, _, port = addr.rpartition(":")
    return host.strip("[]"), int(port)


def split_url(url: str) -> tuple[str, int, str]:
    """`"http://host:6060/api/push"` -> `("host", 6060, "/api/push")`."""
    match = _HTTP_URL.fullmatch(url)
    assert match is not None, url  # load() let only such URLs through
    usual = 443 if url.startswith("https:") else 80
    return match.group(1).strip("[]"), int(match.group(2) or usual), match.group(3) or "/"


def _kind(value: Any) -> str:
    names = {bool: "true/false", str: "a string", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), "a number")


def _is_bool(value: Any) -> str:
    return "" if isinstance(value, bool) else f"must be true or false, not {_kind(value)}"


def _is_str(value: Any) -> str:
    if not isinstance(value, str):
        return f"must be a string, not {_kind(value)}"
    return "holds a NUL character" if "\0" in value else ""


def _is_count(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return f"must be a whole number, not {_kind(value)}"
    return "" if 0 < value <= 1 << 40 else f"must be above 0, not {value}"


def _is_seconds(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"must be a number of seconds, not {_kind(value)}"
    return "" if 0 <= value <= 3600 else f"must be between 0 and 3600 s, not {value}"


def _is_addr(value: Any) -> str:
    problem = _is_str(value)
    if problem:
        return problem
    match = _HOST_PORT.fullmatch(value)
    if match is None or int(match.group(2)) > 65535:
        return f"must be host:port, e.g. 127.0.0.1:1988, not {value!r}"
    return ""


def _is_addrs(value: Any) -> str:
    if not isinstance(value, list):
        return f"must be a list of host:port, not {_kind(value)}"
    return next(filter(None, map(_is_addr, value)), "")


def _is_url(value: Any) -> str:
    problem = _is_str(value)
    if problem or value == "":
        return problem
    if value.startswith("https:") or _is_tls_url(value):
        return (
            f"must be http://host:port/path (no TLS, no user), not {without_credentials(value)!r}"
        )
    return ""


def _is_tls_url(value: Any) -> str:
    problem = _is_str(value)
    if problem or value == "":
        return problem
    match = _HTTP_URL.fullmatch(value)
    if match is None or int(match.group(2) or 80) > 65535:
        return f"must be https://host:port/path (no user), not {without_credentials(value)!r}"
    return ""


def _is_tags(value: Any) -> str:
    if not isinstance(value, dict):
        return f"must be an object of strings, not {_kind(value)}"
    for key, text in value.items():
        if not isinstance(text, str):
            return f"value of {key!r} must be a string, not {_kind(text)}"
        if any(char in key + text for char in ",= \t\n"):
            return f"{key!r}: a tag cannot hold a comma, an equals sign or a space"
    return ""


def _is_interpreters(value: Any) -> str:
    if not isinstance(value, dict):
        return f"must be an object of paths or lists, not {_kind(value)}"
    for name, argv in value.items():
        words = argv if isinstance(argv, list) else [argv]
        if not words or not words[0] or any(_is_str(word) for word in words):
            return f'{name!r} must be a path or a list of strings, e.g. ["/usr/bin/{name}"]'
    return ""


def _is_postextract(value: Any) -> str:
    if isinstance(value, bool) or value == SKIP:
        return ""
    return f'must be true, false or "{SKIP}", not {value!r}'


_CHECKS = {
    "bool": _is_bool,
    "str": _is_str,
    "count": _is_count,
    "seconds": _is_seconds,
    "path": _is_str,
    "addr": _is_addr,
    "addrs": _is_addrs,
    "url": _is_url,
    "tls-url": _is_tls_url,
    "tags": _is_tags,
    "interpreters": _is_interpreters,
    "postextract": _is_postextract,
}
