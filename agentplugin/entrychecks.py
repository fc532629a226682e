"""What is wrong with any single entry of a plugin tree, plugin or not: its name, mode and size,
and what git would do to it on the way to a host."""

from __future__ import annotations

from agentplugin import content
from agentplugin.names import character_problem
from agentplugin.problems import Problem, error, info, shown, warning
from agentplugin.shebangs import read_shebang
from agentplugin.treescan import DIRECTORY, FILE, Entry

MAX_PATH = 255
"""Characters of a path that the portal's column for a binding holds."""

LARGE_BYTES = 1_048_576

_ALTERING = ("ident", "filter", "working-tree-encoding", "export-subst")


def entry_problems(entry: Entry) -> list[Problem]:
    """All findings that hang on no other entry."""
    problems = _name_problems(entry)
    if entry.name == ".git":
        problems.append(
            error(
                entry.path,
                "nested-repository",
                "a repository inside the tree (a clone, worktree or submodule): git stores a link "
                "instead of its files, so hosts would get an empty folder",
                "commit the files themselves, or make that repository a source of its own",
            )
        )
    elif entry.kind == FILE:
        problems.extend(_file_problems(entry))
    return problems


def _name_problems(entry: Entry) -> list[Problem]:
    name, path = entry.name, entry.path
    problems: list[Problem] = []
    unusable = character_problem(name, path)
    if unusable is not None:
        problems.append(unusable)
    if "(" in name or ")" in name:
        # A directory is only ever bound by name; a script may still run with its directory.
        say = error if entry.kind == DIRECTORY else warning
        problems.append(
            say(
                path,
                "name-parentheses",
                f"the name {shown(name)} has parentheses, which begin the arguments of a binding: "
                "it cannot be bound",
                "rename it",
            )
        )
    if name != name.strip():
        problems.append(
            warning(
                path,
                "name-outer-space",
                f"the name {shown(name)} begins or ends with a space, which nobody sees in a "
                "binding",
                "rename it",
            )
        )
    if len(path) > MAX_PATH:
        problems.append(
            warning(
                path,
                "path-too-long",
                f"the path has {len(path)} characters: the portal's column holds {MAX_PATH}, so it "
                "cannot be bound there",
                "use shorter names",
            )
        )
    return problems


def _file_problems(entry: Entry) -> list[Problem]:
    path = entry.path
    problems: list[Problem] = []
    if entry.mode & 0o6000:
        problems.append(
            warning(
                path,
                "set-user-id",
                "the set-user-id or set-group-id bit is set: git does not carry it to hosts",
                "remove it; what needs other rights belongs into the host's sudoers",
            )
        )
    if entry.mode & 0o002:
        problems.append(
            warning(
                path,
                "world-writable",
                "every user of this machine can change the file before it is published",
                f"chmod o-w {path}",
            )
        )
    if entry.size > LARGE_BYTES:
        problems.append(
            warning(
                path,
                "large-file",
                f"{entry.size / LARGE_BYTES:.1f} MiB: every host gets and keeps it, in every "
                "version",
                "build or fetch it on the hosts, or make a package of it",
            )
        )
    try:
        head = entry.head()
    except OSError as err:
        problems.append(
            error(
                path,
                "unreadable",
                f"the file cannot be read: {err.strerror or err}",
                "make it readable",
            )
        )
        return problems
    if content.is_lfs_pointer(head):
        problems.append(content.lfs_problem(path))
    if entry.name == ".gitmodules":
        problems.append(
            error(
                path,
                "submodules",
                "submodules are not fetched: hosts would get an empty folder for each",
                "make each submodule a source of its own, or commit its files",
            )
        )
    elif entry.name == ".gitattributes":
        problems.extend(_attribute_problems(path, head))
    return problems


def _attribute_problems(path: str, data: bytes) -> list[Problem]:
    problems: list[Problem] = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        for word in words[1:]:
            name = word.partition("=")[0]
            if name in _ALTERING or word == "eol=crlf":
                problems.append(
                    warning(
                        path,
                        "gitattributes",
                        f"{shown(word)} makes git change files at checkout: what runs on a host "
                        "would not be what was reviewed and verified",
                        "remove the attribute",
                        line=number,
                    )
                )
    return problems


def stray_problem(entry: Entry, head: bytes) -> Problem | None:
    """A script that an agent never runs because its name begins with no step, or None."""
    runnable = bool(entry.mode & 0o111)
    shebang = read_shebang(head) is not None
    if entry.name.lstrip("+-. ")[:1].isdigit() and (runnable or shebang):
        return warning(
            entry.path,
            "looks-like-step-script",
            f"{shown(entry.name)} begins with a digit, but not with a number and '_': no agent "
            "runs it",
            "name it like 60_name.py (seconds, '_', name)",
        )
    if runnable and shebang:
        return info(
            entry.path,
            "runnable-without-step",
            f"{shown(entry.name)} can be executed but its name begins with no step: no agent runs "
            "it by itself",
            "name it like 60_name.py if it is a plugin; remove the execute bit if it is a module",
        )
    return None
