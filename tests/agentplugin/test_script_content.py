"""Why the kernel would not run a script; the causes are also proved by running them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agentplugin.content import script_problems, why_not_runnable
from agentplugin.shebangs import read_shebang

CASES = [
    (b"#!/bin/sh\necho\n", 0o755, []),
    (b"#!/usr/bin/env python3\n", 0o755, []),
    (b"#! /bin/sh -e\n", 0o755, []),
    (b"#!/usr/bin/env -S python3 -u\n", 0o755, []),
    (b"#!/bin/sh", 0o755, []),
    (b"#!/bin/sh\n", 0o644, ["not-executable"]),
    (b"", 0o755, ["empty-script"]),
    (b"", 0o644, ["not-executable", "empty-script"]),
    (b"echo hi\n", 0o755, ["no-shebang"]),
    (b"\n#!/bin/sh\n", 0o755, ["no-shebang"]),
    (b"\xef\xbb\xbf#!/bin/sh\n", 0o755, ["shebang-byte-order-mark"]),
    (b"#!/bin/sh\r\necho\r\n", 0o755, ["shebang-crlf"]),
    (b"#!/usr/bin/env python3\r\n", 0o755, ["shebang-crlf"]),
    (b"#!/bin/sh\necho 1\r\n", 0o755, ["crlf"]),
    (b"#!/usr/bin/python3\nprint(1)\r\n", 0o755, ["crlf"]),
    (b"#!python3\n", 0o755, ["shebang-not-absolute"]),
    (b"#!\n", 0o755, ["shebang-not-absolute"]),
    (b"#!/usr/bin/env\n", 0o755, ["shebang-without-program"]),
    (b"#!/usr/bin/env python3 -u\n", 0o755, ["shebang-env-arguments"]),
    (b"#!/" + b"a/" * 80 + b"sh\n", 0o755, ["shebang-too-long", "unusual-interpreter"]),
    (b"#!/bin/sh -" + b"e" * 116 + b"\n", 0o755, []),
    (b"#!/bin/sh -" + b"e" * 117 + b"\n", 0o755, ["shebang-too-long"]),
    (b"#!/usr/bin/python2\n", 0o755, ["interpreter-python2"]),
    (b"#!/usr/bin/env python2.7\n", 0o755, ["interpreter-python2"]),
    (b"#!/usr/bin/env python\n", 0o755, ["interpreter-ambiguous"]),
    (b"#!/opt/py/bin/python2.7\n", 0o755, ["interpreter-python2"]),
    (b"#!/opt/foo/bin/python\n", 0o755, ["unusual-interpreter"]),
    (b"#!/usr/bin/env python -u\n", 0o755, ["shebang-env-arguments", "interpreter-ambiguous"]),
    (b"\x7fELF\x02\x01", 0o755, ["binary-plugin"]),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", 0o755, ["lfs-pointer"]),
]


@pytest.mark.parametrize(("head", "mode", "codes"), CASES)
def test_content_has_these_findings(head: bytes, mode: int, codes: list[str]) -> None:
    found = script_problems("60_a", head, mode)
    assert [problem.code for problem in found] == codes
    assert all(problem.hint and problem.path == "60_a" for problem in found)


def test_crlf_breaks_a_shell_script_and_only_may_break_others() -> None:
    shell = script_problems("a", b"#!/bin/sh\nx\ny\r\n", 0o755)
    python = script_problems("a", b"#!/usr/bin/env python3\nx\r\n", 0o755)
    assert [(problem.severity, problem.line) for problem in shell + python] == [
        ("error", 3),
        ("warning", 2),
    ]


@pytest.mark.parametrize(
    "line",
    [
        *(f"/usr/bin/env {name}" for name in ("sh", "bash", "dash", "zsh", "ksh", "python3",
          "python3.11", "perl", "ruby", "node", "nodejs", "php", "lua", "lua5.4", "tclsh",
          "tclsh8.6", "expect")),
        *("/bin/sh", "/usr/bin/perl -w", "/usr/local/bin/python3", "/usr/bin/awk -f",
          "/bin/sed -f", "/usr/bin/env -S gawk -f", "/usr/bin/env -S LC_ALL=C /usr/bin/python3"),
    ],
)  # fmt: skip
def test_usual_interpreter_at_a_usual_place_is_not_mentioned(line: str) -> None:
    assert script_problems("60_a", f"#!{line}\n".encode(), 0o755) == []


@pytest.mark.parametrize(
    ("line", "needed", "severity"),
    [
        ("/usr/bin/env nosuchlang", "nosuchlang", "warning"),
        ("/usr/bin/env pyhton3", "pyhton3", "warning"),
        ("/usr/bin/nosuchlang", "/usr/bin/nosuchlang", "warning"),
        ("/usr/bin/python3x", "/usr/bin/python3x", "warning"),
        ("/opt/foo/bin/python", "/opt/foo/bin/python", "info"),
        ("/opt/foo/bin/python3 -u", "/opt/foo/bin/python3", "info"),
        ("/usr/bin/env -S /opt/foo/bin/perl -w", "/opt/foo/bin/perl", "info"),
        ("/opt/foo/bin/env python3", "/opt/foo/bin/env", "info"),
    ],
)
def test_unusual_interpreter_is_named_as_what_hosts_need(
    line: str, needed: str, severity: str
) -> None:
    (problem,) = script_problems("60_a", f"#!{line}\n".encode(), 0o755)
    assert (problem.code, problem.severity, problem.line) == ("unusual-interpreter", severity, 1)
    assert f"needs '{needed}'" in problem.message


def test_interpreter_is_named_as_the_kernel_reads_it() -> None:
    for head, named in [
        (b"#!\n", "'nothing'"),
        (b"#!python3\n", "'python3'"),
        (b"#!/bin/sh\r\n", "'/bin/sh\\r'"),
        (b"#!/usr/bin/env python3\r\n", "'python3\\r'"),
        (b"#!/usr/bin/env python3 -u\n", "'python3 -u'"),
    ]:
        (problem,) = script_problems("60_a", head, 0o755)
        assert named in problem.message and problem.line == 1


@pytest.mark.parametrize(
    ("head", "interpreter", "program"),
    [
        (b"#!/bin/sh\n", "/bin/sh", "sh"),
        (b"#!/usr/bin/env FOO=1 python3 -u\n", "/usr/bin/env", "python3"),
        (b"#!/usr/bin/env -S /opt/py/bin/python3 -u", "/usr/bin/env", "python3"),
        (b"#!\t/bin/bash\t-x\n", "/bin/bash", "bash"),
    ],
)
def test_shebang_tells_the_program_that_decides(
    head: bytes, interpreter: str, program: str
) -> None:
    shebang = read_shebang(head)
    assert shebang is not None
    assert (shebang.interpreter, shebang.program) == (interpreter, program)


DOES_NOT_RUN = [
    (b"echo '[]'\n", 0o755, "no-shebang"),
    (b"", 0o755, "empty-script"),
    (b"\xef\xbb\xbf#!/bin/sh\necho '[]'\n", 0o755, "shebang-byte-order-mark"),
    (b"#!/bin/sh\r\necho '[]'\r\n", 0o755, "shebang-crlf"),
    (b"#!/usr/bin/env sh\r\necho '[]'\r\n", 0o755, "shebang-crlf"),
    (b"#!/usr/bin/env sh -e\necho '[]'\n", 0o755, "shebang-env-arguments"),
    (b"#!sh\necho '[]'\n", 0o755, "shebang-not-absolute"),
    (b"#!/usr/bin/env\necho '[]'\n", 0o755, "shebang-without-program"),
    (b"#!/no/such/interpreter\n", 0o755, "interpreter-missing"),
    (b"#!/usr/bin/env no-such-program\n", 0o755, "interpreter-missing"),
    (b"#!/usr/bin/env -S /no/such/folder/sh -e\necho '[]'\n", 0o755, "interpreter-missing"),
    (b"#!/bin/sh\necho '[]'\n", 0o644, "not-executable"),
]


@pytest.mark.parametrize(("content", "mode", "code"), DOES_NOT_RUN)
def test_kernel_agrees_that_the_script_does_not_run(
    tmp_path: Path, content: bytes, mode: int, code: str
) -> None:
    script = tmp_path / "60_a"
    script.write_bytes(content)
    script.chmod(mode)
    problem = why_not_runnable(str(script))
    assert problem is not None and problem.code == code
    try:
        run = subprocess.run(
            [str(script)], capture_output=True, timeout=1, cwd=str(tmp_path), check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        # Not started at all, or (env without a program) starting itself for ever.
        return
    assert run.stdout != b"[]\n"


def test_script_that_runs_has_no_reason(tmp_path: Path) -> None:
    script = tmp_path / "60_a"
    script.write_text("#!/usr/bin/env sh\necho '[]'\n")
    script.chmod(0o755)
    assert why_not_runnable(str(script)) is None
    assert why_not_runnable("/bin/sh") is None
    assert subprocess.run([str(script)], stdout=subprocess.PIPE, check=True).stdout == b"[]\n"


def test_carriage_return_further_down_is_no_reason_why_it_does_not_start(tmp_path: Path) -> None:
    script = tmp_path / "60_a"
    script.write_bytes(b"#!/bin/sh\necho '[]'\r\n")
    script.chmod(0o755)
    assert why_not_runnable(str(script)) is None


def test_program_is_looked_for_on_the_given_path(tmp_path: Path) -> None:
    script = tmp_path / "60_a"
    script.write_text("#!/usr/bin/env sh\n")
    script.chmod(0o755)
    problem = why_not_runnable(str(script), search_path=str(tmp_path))
    assert problem is not None and "sh" in problem.message


def test_what_is_gone_or_no_file_is_said_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("gone", "pipe", "."):
        problem = why_not_runnable(str(tmp_path / path))
        assert problem is not None and problem.code == "script-unreadable"
