"""The examples of plugins/README.md and docs/writing-plugins.md do what their text says."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from agentplugin import lint, manifest, plans
from agentplugin.measurements import LineParser, Measurement
from agentplugin.metrics import parse_batch

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "writing-plugins.md"


def blocks(language: str) -> list[str]:
    """The guide's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_readmes_example_bindings_are_all_found_in_the_tree() -> None:
    lines = (ROOT / "plugins" / "README.md").read_text().splitlines()
    rows = [line for line in lines if re.match(r"\| `(sys/|net/|portcheck`)", line)]
    examples = [row.split("`")[-2] for row in rows]
    bindings = [json.loads(text) if text.startswith("{") else text for text in examples]
    assert len(bindings) == 10
    found = plans.resolve(bindings, plans.FsTree(str(ROOT / "plugins")))
    assert [problem.as_dict() for problem in found.problems] == []
    assert len(found.scripts) == 9
    (portcheck,) = found.manifests
    assert portcheck.config == {"items": [{"host": "db1", "port": 5432}]}
    given = {script.path: script.args for script in found.scripts}
    assert given["sys/process/60_process_count.py"] == ["nginx", "~java.*kafka"]
    assert given["net/http/60_http_check.py"] == ["http://localhost/health", "text=ok"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The tree that the guide describes."""
    script, loop = blocks("python")
    executable(tmp_path / "tree/sys/uptime/60_uptime.py", script)
    (tmp_path / "tree/queue").mkdir()
    (tmp_path / "tree/queue/plugin.json").write_text(blocks("json")[0])
    (tmp_path / "tree/queue/queue_length.py").write_text(loop)
    return tmp_path / "tree"


def test_the_guides_plugins_pass_the_lint(tree: Path) -> None:
    report = lint.lint_tree(str(tree))
    assert [problem.as_dict() for problem in report.problems] == []
    assert {plugin["path"] for plugin in report.plugins} == {"sys/uptime/60_uptime.py", "queue"}


def test_the_guides_step_script_delivers_data(run_plugin: Any, tree: Path) -> None:
    values = run_plugin(str(tree / "sys/uptime/60_uptime.py"), "").values()
    assert values["uptime.seconds"] > 0


def test_the_guides_manifest_plugin_delivers_data(tree: Path, tmp_path: Path, shims: Path) -> None:
    plugin = manifest.parse((tree / "queue/plugin.json").read_text())
    assert plugin.validate() == []
    items = [{"folder": str(tree)}, {"folder": "/nosuch"}]
    (tree / "queue/param.json").write_text(plugin.param_json({"items": items}))
    with subprocess.Popen(
        plugin.argv({"items": items}),
        cwd=tree / "queue",
        env={"PATH": f"{shims}:/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line, said = process.stdout.readline(), process.stderr.readline()
        process.kill()
    parsed = LineParser(plugin.metrics).parse(line, time.time())
    assert isinstance(parsed, Measurement)
    assert (parsed.metric, parsed.value, parsed.source) == ("QUEUE_LENGTH", 2, str(tree))
    assert said == b"/nosuch: No such file or directory\n"


def test_the_guides_commands_say_what_the_guide_says(tree: Path, shims: Path) -> None:
    lint_command, by_hand, held = blocks("sh")
    assert lint_command.split()[:2] == ["plugfleet", "lint"]
    good = tree / "sys/uptime/60_uptime.py"
    bad = executable(tree / "60_bad.sh", '#!/bin/sh\necho \'[{"metric":"a","value":true}]\'\n')

    def sh(command: str, script: Path) -> str:
        text = command.replace("/path/to/60_uptime.py", str(script))
        text = text.replace("PATH=", f"PATH={shims}:")
        done = subprocess.run(
            ["/bin/sh", "-c", text],
            cwd=ROOT,
            env={"PATH": f"{shims}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout

    assert parse_batch(sh(by_hand, good), now=time.time()).problems == []
    assert sh(held, good) == ""
    assert "error: item 0:" in sh(held, bad)


def test_every_link_of_the_guides_leads_somewhere() -> None:
    for page in (GUIDE, ROOT / "plugins" / "README.md"):
        text = page.read_text()
        for target in re.findall(r"\]\(([^)#]+)", text):
            assert (page.parent / target).exists(), target
        heads = {
            re.sub(r"[^a-z -]", "", head.lower()).replace(" ", "-")
            for head in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        }
        assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= heads
