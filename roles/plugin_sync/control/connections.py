"""The way to a host: exactly the connection that Ansible would use for it.

Inventory variables, play and task keywords, command line options, become and ProxyJump apply,
because Ansible's own connection, shell and become plugins do the work.
"""

from __future__ import annotations

import os
import shlex
from typing import Any

from ansible import constants as C
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import become_loader, connection_loader


class ConnectionRefused(Exception):
    """A host's variables name a way to it that Ansible does not know."""


class HostConnection:
    """A host that commands can be run on; nothing is opened before the first one.

    Args:
        action: the action that visits; its task and play context give keywords and options.
        variables: all of the host's variables, untemplated.
    """

    def __init__(self, action: ActionBase, variables: dict[str, Any]) -> None:
        self._variables = variables
        self._templar = action._templar.copy_with_new_env(available_variables=variables)
        task = action._task
        context = action._play_context.set_task_and_variable_override(
            task=task, variables=variables, templar=self._templar
        )
        name = self._value("ansible_connection") or task.connection
        self._connection = connection_loader.get(
            name,
            context,
            new_stdin=None,
            task_uuid=task._uuid,
            ansible_playbook_pid=str(os.getppid()),
        )
        if self._connection is None:
            raise ConnectionRefused(f"there is no connection plugin {name!r} (ansible_connection)")
        keywords = task.dump_attrs()
        # The task's timeout and retries are not the connection's; it has options of its own.
        keywords["timeout"] = context.timeout
        keywords.pop("retries", None)
        if context.password:
            keywords["password"] = context.password
        self._become(task, context, keywords)
        self._set_options("connection", self._connection, keywords)
        self._set_options("shell", self._connection._shell, keywords)
        self._executable = context.executable or "/bin/sh"

    def _value(self, name: str) -> Any:
        if self._variables.get(name) is None:
            return None
        return self._templar.template(self._variables[name])

    def _set_options(self, kind: str, plugin: Any, keywords: dict[str, Any]) -> None:
        names = C.config.get_plugin_vars(kind, plugin._load_name)
        options = {name: self._value(name) for name in names if name in self._variables}
        plugin.set_options(task_keys=keywords, var_options=options)

    def _become(self, task: Any, context: Any, keywords: dict[str, Any]) -> None:
        wanted = self._value("ansible_become")
        if not (boolean(wanted) if wanted is not None else task.become):
            self._connection.set_become_plugin(None)
            return
        method = self._value("ansible_become_method") or task.become_method or "sudo"
        plugin = become_loader.get(method)
        if plugin is None:
            raise ConnectionRefused(f"there is no become plugin {method!r} (ansible_become_method)")
        if context.become_pass:
            keywords = dict(keywords, become_pass=context.become_pass)
        self._set_options("become", plugin, keywords)
        # The ssh connection answers the become plugin's prompts by itself.
        self._connection.set_become_plugin(plugin)

    def run(self, command: str, data: bytes = b"\n") -> tuple[int, bytes, bytes]:
        """Run a shell command on the host; returns its status, output and errors.

        Args:
            data: standard input. Never empty: without any, Ansible's ssh asks for a terminal, which
                costs the host one and turns line ends into CR LF.

        Raises:
            AnsibleConnectionFailure: the host cannot be reached.
        """
        plugin = self._connection.become
        if plugin and not self._is_same_user(plugin):
            command = plugin.build_become_command(command, self._connection._shell)
        # The login shell of the account may be anything; this one is known.
        status, output, errors = self._connection.exec_command(
            f"{self._executable} -c {shlex.quote(command)}", in_data=data, sudoable=True
        )
        return int(status or 0), bytes(output), bytes(errors)

    def _is_same_user(self, plugin: Any) -> bool:
        if C.BECOME_ALLOW_SAME_USER:
            return False
        try:
            user = self._connection.get_option("remote_user")
        except KeyError:
            user = None
        return bool(user) and user == plugin.get_option("become_user")

    def close(self) -> None:
        """Forget the connection; a shared ControlMaster stays open for the next one."""
        self._connection.close()
