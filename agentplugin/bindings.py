"""Binding texts such as `sys/ntp` or `sys/ntp/60_offset.py(a,b)`, read as the Open-Falcon agent
does (source: cron/plugin.go, plugins/scheduler.go); what it would silently get wrong is refused."""

from __future__ import annotations

from agentplugin.problems import shown

MAX_PORTAL_LENGTH = 255
"""Characters that the portal's column for a binding holds."""

_KEPT_TOGETHER = "\\,"


class BindingError(ValueError):
    """A binding that must not reach a host.

    code      kebab-case, e.g. "binding-leaves-tree"
    message   what is wrong, naming the binding
    hint      what to write instead
    """

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(f"{message} ({hint})")
        self.code = code
        self.message = message
        self.hint = hint


class Binding:
    """What one binding text names.

    raw       the text as written
    path      path in the plugin tree, normal form: no "/" at the ends, "." for the whole tree
    args_text what stood between the parentheses, verbatim; None without parentheses
    args      the arguments that the agent passes; None without parentheses
    Whether `path` is a directory, a script or a manifest plugin is decided by the tree.
    """

    __slots__ = ("args", "args_text", "path", "raw")

    def __init__(self, raw: str, path: str, args_text: str | None) -> None:
        self.raw = raw
        self.path = path
        self.args_text = args_text
        self.args = None if args_text is None else script_args(args_text)

    @property
    def text(self) -> str:
        """The binding in normal form: what to hand to an agent or the portal."""
        return self.path if self.args_text is None else f"{self.path}({self.args_text})"

    def __repr__(self) -> str:
        return f"Binding({self.text!r})"


def parse_binding(text: str) -> Binding:
    """Reads one binding. Raises BindingError for what no agent should ever see."""
    if not text or not text.strip():
        raise BindingError(
            "binding-empty", "the binding is empty", "name a directory or script of the tree"
        )
    if any(ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) < 0xE000 for char in text):
        raise BindingError(
            "binding-control-character",
            f"the binding {shown(text)} holds a control character or half of a Unicode pair",
            "remove it: a line break or tab is often left from copying",
        )
    if text != text.strip():
        raise BindingError(
            "binding-outer-space",
            f"the binding {shown(text)} begins or ends with a space: the agent would look for a "
            "file of just that name and skip it silently",
            f"write {shown(text.strip())}",
        )
    path, args_text = _split(text)
    binding = Binding(text, _normal_path(path, text, args_text), args_text)
    if len(binding.text) > MAX_PORTAL_LENGTH:
        raise BindingError(
            "binding-too-long",
            f"the binding {shown(text)} has {len(binding.text)} characters, the portal's column "
            f"holds {MAX_PORTAL_LENGTH}",
            "shorten the arguments, for instance by a file that the script reads",
        )
    return binding


def script_args(args_text: str) -> list[str]:
    """The arguments that the agent passes for `script(args_text)`: none at all for `script()`."""
    return parse_args(args_text) if args_text else []


def parse_args(text: str) -> list[str]:
    """Splits arguments exactly as the agent does, oddities included.

    Commas separate, quotes do not protect them. Spaces, then double, then single quotes are
    trimmed off each argument. `\\,` keeps a comma, but only in the last argument before it,
    never in the first one, and only once an argument. An empty last argument is dropped.
    """
    args: list[str] = []
    held = ""
    for chunk in text.split(_KEPT_TOGETHER):
        parts = [part.strip(" ").strip('"').strip("'") for part in chunk.split(",")]
        args.append(f"{held},{parts[0]}" if held else parts[0])
        args.extend(parts[1:-1])
        held = parts[-1] if len(parts) > 1 else ""
    if held:
        args.append(held)
    return args


def _split(text: str) -> tuple[str, str | None]:
    """Path and arguments text. The agent's `(.*)\\((.*)\\)` agrees for all that is let through."""
    if "(" not in text and ")" not in text:
        return text, None
    if text.count("(") != 1 or text.count(")") != 1:
        if text.count("(") == text.count(")"):
            raise BindingError(
                "binding-nested-parentheses",
                f"the binding {shown(text)} has more than one pair of parentheses: the agent "
                "splits at the last one and then finds no such script",
                "keep parentheses out of names and arguments",
            )
        raise _unbalanced(text)
    path, _, rest = text.partition("(")
    if not rest.endswith(")"):
        if ")" in path:
            raise _unbalanced(text)
        raise BindingError(
            "binding-text-after-arguments",
            f"the binding {shown(text)} goes on after ')': the agent drops that text",
            "end the binding with ')'",
        )
    if not path.strip("/"):
        raise BindingError(
            "binding-empty",
            f"the binding {shown(text)} names no script",
            "write the script before '('",
        )
    if path.endswith("/"):
        raise BindingError(
            "binding-directory-arguments",
            f"the binding {shown(text)} gives arguments to a directory: the agent ignores them",
            "bind the script itself, e.g. sys/ntp/60_offset.py(a,b)",
        )
    if path != path.rstrip(" "):
        raise BindingError(
            "binding-outer-space",
            f"the binding {shown(text)} has a space before '(': the agent would look for a "
            "script whose name ends with it and skip it silently",
            f"write {shown(path.rstrip(' ') + '(' + rest)}",
        )
    return path, rest[:-1]


def _unbalanced(text: str) -> BindingError:
    return BindingError(
        "binding-unbalanced-parentheses",
        f"the binding {shown(text)} has unbalanced parentheses: the agent would look for a "
        "script of that whole name",
        "write script(arg1,arg2)",
    )


def _normal_path(path: str, text: str, args_text: str | None) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BindingError(
            "binding-leaves-tree",
            f"the binding {shown(text)} contains '..': the agent would run files outside the "
            "plugin tree",
            "name a path below the top of the tree",
        )
    if ".git" in parts:
        raise BindingError(
            "binding-inside-git",
            f"the binding {shown(text)} points into a .git folder",
            "bind a plugin directory",
        )
    if not parts:
        if "." in path and args_text is None:
            return "."
        raise BindingError(
            "binding-empty",
            f"the binding {shown(text)} names nothing: the agent runs no plugin for it",
            "name a directory or script; '.' is the top of the tree",
        )
    return "/".join(parts)
