"""A project whose playbook visits no host really: each does what its variables say, in real processes."""

from __future__ import annotations

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[3]

_CONFIG = f"""\
[defaults]
action_plugins = actions:{_CHECKOUT}/roles/plugin_sync/action_plugins
gathering = explicit
retry_files_enabled = False
interpreter_python = auto_silent
"""

_PLAYBOOK = """\
- name: Bring the hosts to their plan
  hosts: all
  gather_facts: false
  tasks:
    - name: Publish the release
      prepare:
        say: "{{ pretend_say | default('nothing') }}"
        fail: "{{ pretend_no_release | default(false) }}"
      run_once: true
    - name: Visit
      plugin_visit:
      register: plugin_visited
      run_once: true
    - name: Report
      plugin_report:
        visit: plugin_visited
      tags: [report]
"""

_PREPARE = """\
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    BYPASS_HOST_LOOP = True
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        if self._task.args["fail"]:
            return {"failed": True, "msg": "the release is not here"}
        return {"changed": False, "msg": "said " + str(self._task.args["say"])}
"""

# Each host sleeps in a process of its own, as ssh would be one, and one more that left its group.
_VISIT = f"""\
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from ansible.plugins.action import ActionBase

sys.path.insert(0, {str(_CHECKOUT)!r})

from roles.plugin_sync.control.journal import Journal


class ActionModule(ActionBase):
    BYPASS_HOST_LOOP = True
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        names = list(task_vars["ansible_play_batch"])
        journal = Journal()

        def visit(name):
            pretend = task_vars["hostvars"][name].get("pretend", {{}})
            journal.begun(name)
            if pretend.get("seconds"):
                subprocess.Popen(["setsid", "sleep", str(pretend["seconds"])])
                subprocess.run(["sleep", str(pretend["seconds"])], check=False)
            result = {{"changed": False, "msg": "right", "steps": []}} | pretend.get("result", {{}})
            journal.ended(name, result)
            return result

        # Variables are Ansible's, and are read by one thread.
        for name in names:
            task_vars["hostvars"][name].get("pretend", {{}})
        with ThreadPoolExecutor(int(task_vars.get("ansible_forks") or 5)) as pool:
            results = dict(zip(names, pool.map(visit, names)))
        return {{"hosts": results, "changed": any(r.get("changed") for r in results.values())}}
"""


def make_project(folder: Path) -> Path:
    """Make the project; returns its folder."""
    (folder / "actions").mkdir(parents=True)
    (folder / "ansible.cfg").write_text(_CONFIG)
    (folder / "deploy-plugins.yml").write_text(_PLAYBOOK)
    (folder / "actions" / "prepare.py").write_text(_PREPARE)
    (folder / "actions" / "plugin_visit.py").write_text(_VISIT)
    return folder
