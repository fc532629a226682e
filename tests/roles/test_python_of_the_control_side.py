"""What ansible-playbook loads runs on Python 3.9, which the image of AWX 24's jobs has."""

from __future__ import annotations

import ast
import builtins
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PLUGINS = ("roles/*/action_plugins", "inventory_plugins", "callback_plugins")
LOADED = """
import importlib.util, sys
for number, path in enumerate(sys.argv[1:]):
    spec = importlib.util.spec_from_file_location(f"plugin{number}", path)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
print("\\n".join(filter(None, (getattr(m, "__file__", "") for m in sys.modules.values()))))
"""


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """The project's files that Ansible's plugins load."""
    plugins = [path for folder in PLUGINS for path in sorted(CHECKOUT.glob(f"{folder}/*.py"))]
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *plugins], capture_output=True, text=True, check=True
    )
    loaded = [Path(line) for line in done.stdout.splitlines()]
    ours = [path for path in loaded if CHECKOUT in path.parents]
    return [path for path in ours if Path(sys.prefix) not in path.parents]


def test_all_that_they_use_is_there(files: list[Path]) -> None:
    assert len(files) > 80
    vermin = [Path(sys.executable).parent / "vermin", "--quiet", "--no-tips", "--violations"]
    done = subprocess.run([*vermin, "-t=3.9-", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def unions(tree: ast.AST) -> Iterator[int]:
    """Lines where types are united by `|` when the program runs; annotations are not evaluated."""
    types = {name for name, value in vars(builtins).items() if isinstance(value, type)}
    for node in ast.iter_child_nodes(tree):
        if isinstance(tree, ast.AnnAssign | ast.arg | ast.FunctionDef) and node in (
            getattr(tree, "annotation", None),
            getattr(tree, "returns", None),
        ):
            continue
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            for side in (node.left, node.right):
                if isinstance(side, ast.Name) and side.id in types:
                    yield node.lineno
                if isinstance(side, ast.Constant) and side.value is None:
                    yield node.lineno
        yield from unions(node)


def test_no_union_of_types_is_made_at_run_time(files: list[Path]) -> None:
    """Vermin does not see them."""
    assert list(unions(ast.parse("isinstance(1, int | None); x: int | None = 1"))) == [1, 1]
    found = [f"{path}:{line}" for path in files for line in unions(ast.parse(path.read_text()))]
    assert found == []
