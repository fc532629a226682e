"""What holds for every plugin of the tree: name, mode, what it prints, and its README line."""

from __future__ import annotations

import ast
import http.server
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentplugin import lint, names
from agentplugin.metrics import parse_batch

TREE = Path(__file__).resolve().parents[2] / "plugins"
SCRIPTS = sorted(
    str(path.relative_to(TREE))
    for path in TREE.rglob("*")
    if path.is_file() and names.parse_step(path.name) is not None
)
PYTHON = [path for path in SCRIPTS if path.endswith(".py")]
SHELL = [path for path in SCRIPTS if path.endswith(".sh")]


def test_the_lint_finds_nothing_at_all() -> None:
    report = lint.lint_tree(str(TREE))
    assert [problem.as_dict() for problem in report.problems] == []
    kinds = {plugin["path"]: plugin["kind"] for plugin in report.plugins}
    assert kinds == {**dict.fromkeys(SCRIPTS, "step-script"), "portcheck": "manifest"}
    assert len(kinds) == 10


@pytest.mark.parametrize("path", [*SCRIPTS, "portcheck/portcheck.py"])
def test_a_script_is_executable_with_unix_line_ends(path: str) -> None:
    data = (TREE / path).read_bytes()
    assert (TREE / path).stat().st_mode & 0o777 == 0o755
    assert b"\r" not in data
    assert data.startswith((b"#!/usr/bin/env python3\n", b"#!/bin/sh\n"))


def agreement(path: str) -> str:
    """The lines that a script shares with the others of its language."""
    text = (TREE / path).read_text()
    return text[text.index("\n# --- what every ") : text.index("# --- end of the agreement ---")]


@pytest.mark.parametrize("scripts", [PYTHON, SHELL], ids=["python", "sh"])
def test_the_repeated_lines_are_the_same_in_every_script(scripts: list[str]) -> None:
    # A plugin is one plain file; what they must agree on is repeated, so that a fix reaches all.
    assert len(scripts) > 1
    assert len({agreement(path) for path in scripts}) == 1


def test_python_scripts_run_on_every_host_that_is_supported() -> None:
    vermin = Path(sys.executable).with_name("vermin")
    files = [str(TREE / path) for path in [*PYTHON, "portcheck/portcheck.py"]]
    done = subprocess.run(
        [str(vermin), "-t=3.8-", "--no-tips", "--violations", *files],
        stdout=subprocess.PIPE,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", [*PYTHON, "portcheck/portcheck.py"])
def test_python_scripts_need_the_standard_library_alone(path: str) -> None:
    imported = set()
    for node in ast.walk(ast.parse((TREE / path).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize("path", SHELL)
def test_sh_scripts_parse_in_a_plain_posix_shell(path: str) -> None:
    assert subprocess.run(["/bin/sh", "-n", str(TREE / path)], check=False).returncode == 0
    text = (TREE / path).read_text()
    for bashism in (r"\[\[", r"\blocal\b", r"\bfunction\b", r"\becho -", r"<<<", r"\$\{\w+//"):
        assert not re.search(bashism, re.sub(r"\[\[:\w+:\]\]", "", text)), bashism


@pytest.fixture
def arguments(shim: Any, tmp_path: Path) -> Iterator[dict[str, list[str]]]:
    """What makes each script deliver data on any machine."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler
    ) as server:
        server.RequestHandlerClass.log_message = lambda *_ignored: None  # type: ignore[method-assign]  # quiet
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        address = f"127.0.0.1:{server.server_address[1]}"
        shim("systemctl", 'case " $* " in *" show "*) echo "ActiveState=active";; esac\n')
        shim("chronyc", "echo 'A,1.2.3.4,2,1.0,0.001,0,0,0,0,0,0,0,64,Normal'\n")
        shim("check_it", "echo 'OK|a=1'\n")
        yield {
            "60_http_check.py": [f"http://{address}/"],
            "3600_tls_expiry.py": [address],
            "300_clock_offset.py": [address],
            "60_nagios.py": ["check_it"],
            "60_process_count.py": ["init"],
            "60_systemd_units.py": ["sshd"],
        }
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", SCRIPTS)
@pytest.mark.parametrize("prefix", ["", "7_", "+015_", "0086400_"])
def test_what_a_script_prints_arrives_with_the_step_of_its_file_name(
    run_plugin: Any, arguments: dict[str, list[str]], path: str, prefix: str
) -> None:
    name = os.path.basename(path)
    ran = run_plugin(path, *arguments.get(name, [""]), name=prefix + name if prefix else "")
    assert {row["step"] for row in ran.rows()} == {names.parse_step(prefix + name)}
    assert ran.stdout.count(b"\n") == 1
    assert len(ran.stdout) < 64 * 1024


@pytest.mark.parametrize("path", SCRIPTS)
@pytest.mark.parametrize("name", ["0_x", "-60_x", "x", "_x", "6e1_x", "00_x", "60x_y", "٣_x"])
def test_a_file_name_without_a_step_is_refused_with_the_reason(
    run_plugin: Any, path: str, name: str
) -> None:
    assert "must begin with its step in seconds" in run_plugin(path, name=name).reason()


@pytest.mark.parametrize("path", SCRIPTS)
def test_the_endpoint_is_the_hosts_name_unless_the_agent_was_told_another(
    run_plugin: Any, arguments: dict[str, list[str]], path: str
) -> None:
    given = arguments.get(os.path.basename(path), [])
    assert b'"test-host"' in run_plugin(path, *given).stdout
    unset = run_plugin(path, *given, FALCON_ENDPOINT="")
    assert f'"{os.uname().nodename}"'.encode() in unset.stdout


@pytest.mark.parametrize("path", SHELL)
@pytest.mark.parametrize("endpoint", ['a"b', "a\\b", "a\nb", "a\tb"])
def test_sh_scripts_refuse_a_name_that_would_break_their_json(
    run_plugin: Any, path: str, endpoint: str
) -> None:
    assert "FALCON_ENDPOINT holds" in run_plugin(path, FALCON_ENDPOINT=endpoint).reason()


@pytest.mark.parametrize("path", PYTHON)
def test_help_is_what_the_script_says_of_itself(run_plugin: Any, path: str) -> None:
    ran = run_plugin(path, "--help")
    assert ran.code == 0
    assert b"Arguments:" in ran.stdout


@pytest.mark.parametrize(
    ("path", "arguments", "said"),
    [
        (
            "net/http/60_http_check.py",
            ["http://nosuch.invalid/"],
            "http://nosuch.invalid/: the name",
        ),
        ("net/tls/3600_tls_expiry.py", ["nosuch.invalid"], "nosuch.invalid:443: the name cannot"),
        ("sys/clock/300_clock_offset.py", ["nosuch.invalid"], "nosuch.invalid: the name cannot"),
    ],
)
def test_on_a_terminal_the_reason_of_each_failure_is_said_too(
    shim: Any, shims: Path, path: str, arguments: list[str], said: str
) -> None:
    shim("chronyc", "echo 'A,1.2.3.4,2,1.0,0.001,0,0,0,0,0,0,0,64,Normal'\n")
    terminal, end = os.openpty()
    done = subprocess.run(
        [str(TREE / path), *arguments],
        env={"PATH": f"{shims}:/usr/bin:/bin", "FALCON_ENDPOINT": "test-host"},
        stdout=subprocess.PIPE,
        stderr=end,
        check=True,
    )
    os.close(end)
    assert said in os.read(terminal, 4096).decode()
    os.close(terminal)
    assert parse_batch(done.stdout, now=time.time()).problems == []


BROKEN = """
import json
def broken(*_, **__):
    raise RuntimeError("two\\nlines")
json.dumps = broken
"""


@pytest.mark.parametrize("path", PYTHON)
def test_what_nobody_foresaw_is_one_line_and_no_trace(
    run_plugin: Any, arguments: dict[str, list[str]], tmp_path: Path, path: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    given = arguments.get(os.path.basename(path), [])
    ran = run_plugin(path, *given, PYTHONPATH=str(tmp_path))
    name = os.path.basename(path)
    assert (ran.code, ran.stdout) == (1, b"")
    assert ran.stderr == f"{name}: unexpected RuntimeError: two lines\n"


def readme() -> str:
    return (TREE / "README.md").read_text()


@pytest.mark.parametrize("path", [*SCRIPTS, "portcheck"])
def test_the_readme_has_a_line_for_each_plugin(path: str) -> None:
    assert f"`{path}`" in readme()


def test_the_readme_names_every_metric_and_no_other() -> None:
    sent = set()
    for path in SCRIPTS:
        text = (TREE / path).read_text()
        sent |= set(re.findall(r'row\(\s*"([a-z.]+)"', text))
        for name in re.findall(r'^\s*(?:\[.*\] && )?add "?([a-z0-9.$]+)"?', text, re.MULTILINE):
            values = {"$kind": ("some", "full"), "$resource": ("cpu", "io")}
            variable = next((one for one in values if one in name), "")
            sent |= {name.replace(variable, value) for value in values.get(variable, ("",))}
    described = set(re.findall(r"^\| `([a-z0-9]+(?:\.[a-z0-9]+)+)`", readme(), re.MULTILINE))
    assert len(sent) > 40
    assert described == sent
