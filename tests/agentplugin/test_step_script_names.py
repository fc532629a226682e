"""Step script names: the real agent's vectors, and what must be refused although it takes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplugin import names

TAKEN = {
    "60_a.py": 60,
    "60_": 60,
    "060_a": 60,
    "+60_a": 60,
    "1_000_a": 1,
    "60_a.pyc": 60,
    "60_a.py~": 60,
    "60_a.py.bak": 60,
    "300_README.md": 300,
    "0_a": 0,
    "-60_a": -60,
    "9223372036854775807_a": 9223372036854775807,
    "-9223372036854775808_a": -9223372036854775808,
}
IGNORED = (
    "60.py",
    "60",
    "_a",
    "60 _a",
    " 60_a",
    "6e1_a",
    "0x10_a",
    ".60_a.py.swp",
    "60-a.py",
    "1,000_a",
    "٦٠_a",
    "6_0".replace("_", "\u00b2_"),
    "9223372036854775808_a",
    "-9223372036854775809_a",
    "9" * 5000 + "_a",
    "",
    "plugin.json",
)


@pytest.mark.parametrize(("filename", "step"), TAKEN.items())
def test_name_is_a_plugin_with_that_step_for_the_real_agent(filename: str, step: int) -> None:
    assert names.parse_step(filename) == step


@pytest.mark.parametrize("filename", IGNORED)
def test_name_is_no_plugin_for_the_real_agent(filename: str) -> None:
    assert names.parse_step(filename) is None
    assert names.refusal(filename) is None
    assert names.split_name(filename) is None


@pytest.mark.parametrize(
    ("filename", "code"),
    [
        ("0_a", "step-not-positive"),
        ("-60_a", "step-not-positive"),
        ("+0_a", "step-not-positive"),
        ("9223372037_x", "step-overflow"),
        ("99999999999_x", "step-overflow"),
        ("60_a.py~", "leftover-file"),
        ("60_a.py.bak", "leftover-file"),
        ("60_a.PYC", "leftover-file"),
        ("60_a.pyo", "leftover-file"),
        ("60_a.cpython-311.pyc", "leftover-file"),
        ("60_a.py.swp", "leftover-file"),
        ("60_a.orig", "leftover-file"),
        ("60_a.rej", "leftover-file"),
        ("60_a.dpkg-old", "leftover-file"),
        ("60_a.rpmsave", "leftover-file"),
        ("300_README.md", "documentation-as-plugin"),
        ("300_README", "documentation-as-plugin"),
        ("300_readme.txt", "documentation-as-plugin"),
        ("60_notes.md", "documentation-as-plugin"),
        ("60_a\nb", "name-control-character"),
        ("60_a\x7f", "name-control-character"),
        ("60_\udcff", "name-not-utf8"),
        ("60_" + "a" * 240, "name-too-long"),
        ("60_" + "é" * 120, "name-too-long"),
    ],
)
def test_name_is_refused_although_the_agent_takes_it(filename: str, code: str) -> None:
    refused = names.refusal(filename, f"sys/{filename}")
    assert refused is not None
    assert (refused.code, refused.severity, refused.path) == (code, "error", f"sys/{filename}")
    assert refused.hint


@pytest.mark.parametrize(
    "filename",
    ["60_a.py", "060_a", "+60_a", "60_", "9223372036_a", "60_read.py", "60_a(b).py", "60_a b.sh",
     "60_" + "a" * 239, "86400_mdadm.py", "60_orig.py"],
)  # fmt: skip
def test_good_name_is_not_refused(filename: str) -> None:
    assert names.refusal(filename) is None


def test_script_bound_by_its_path_needs_no_underscore_but_a_positive_step() -> None:
    assert names.file_bound_step("60") == 60
    assert names.file_bound_step("60.py") is None
    assert names.refusal("60", file_bound=True) is None
    refused = names.refusal("0", file_bound=True)
    assert refused is not None and refused.code == "step-not-positive"


def test_refusal_proposes_a_name_that_is_good() -> None:
    refused = names.refusal("0_disk.py")
    assert refused is not None and "60_disk.py" in refused.hint


@given(st.text(max_size=300))
def test_any_name_gets_an_answer(filename: str) -> None:
    step = names.parse_step(filename)
    refused = names.refusal(filename)
    if step is None:
        assert refused is None
    elif not 0 < step <= names.MAX_STEP:
        assert refused is not None


@given(st.integers(min_value=-(1 << 70), max_value=1 << 70), st.text(max_size=8))
def test_every_integer_step_is_read_as_go_reads_int64(number: int, rest: str) -> None:
    expected = number if -(1 << 63) <= number < 1 << 63 else None
    assert names.parse_step(f"{number}_{rest}") == expected
