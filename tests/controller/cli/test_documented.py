"""docs/cli.md has every command, option and exit code; the command itself starts quickly."""

from __future__ import annotations

import resource
import subprocess
import sys

from controller.cli.exits import Exit
from docs.cli_reference import PAGE, commands, page


def test_the_reference_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_every_command_and_option_says_what_it_is_for() -> None:
    silent = [name for name, command in commands() if not (command.help or "").strip()]
    silent += [
        f"{name} {parameter.name}"
        for name, command in commands()
        for parameter in command.params
        if not parameter.help
    ]
    assert silent == []


def test_every_command_that_prints_something_can_print_json() -> None:
    plain = [
        name
        for name, command in commands()
        if not any("--json" in parameter.opts for parameter in command.params)
        and not hasattr(command, "commands")
    ]
    assert plain == []


def test_every_exit_code_is_documented() -> None:
    table = PAGE.read_text().partition("## Exit codes")[2].partition("## First steps")[0]
    assert [f"| {code.value} |" in table for code in Exit] == [True] * len(Exit)


def test_help_costs_little() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    heavy = "print([m for m in ('fastapi', 'sqlalchemy', 'httpx2', 'yaml') if m in sys.modules])"
    code = f"import sys; from controller.cli.commands import app; {heavy}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    subprocess.run(
        [sys.executable, "-m", "controller.cli", "--help"], check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 2 * 0.8, "seconds of CPU for two starts; 0.3 each on an idle machine"
