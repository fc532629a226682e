"""The executor's errors. Each one's message is what a person reads: the file or field, what is
wrong, what to do.

ExecutorError
 +- ConfigError    cfg.json or bindings.json is refused
 +- CheckoutError  a release of the plugin tree could not be built
"""

from __future__ import annotations


class ExecutorError(Exception):
    """Something that the person who runs the executor can put right."""


class ConfigError(ExecutorError):
    """`path`: the file; `field`: dotted name or "" for the file as a whole; `reason`: what is
    wrong.
    """

    def __init__(self, path: str, field: str, reason: str) -> None:
        super().__init__(f"{path}: {field} {reason}" if field else f"{path} {reason}")
        self.path = path
        self.field = field
        self.reason = reason


class CheckoutError(ExecutorError):
    """The reason stands in the body of `/plugin/update`: one line."""


def failure_body(action: str, directory: str, reason: str) -> str:
    """What the agent answers when git failed (agent/http/plugin.go), with the reason it leaves
    out.
    """
    verb = "git pull" if action == "update" else "git reset --hard"
    return f"{verb} in dir:{directory} fail. error: {reason}"
