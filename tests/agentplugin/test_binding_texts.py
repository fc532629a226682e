"""Binding texts and script arguments, held against the real parser's answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplugin.bindings import BindingError, parse_args, parse_binding
from tests.falcon.arguments import ARGUMENTS


@pytest.mark.parametrize(("text", "args"), ARGUMENTS)
def test_arguments_are_split_as_the_real_agent_splits_them(text: str, args: list[str]) -> None:
    assert parse_args(text) == args


@pytest.mark.parametrize(
    ("text", "path", "args"),
    [
        ("sys/ntp", "sys/ntp", None),
        ("/sys/ntp/", "sys/ntp", None),
        ("sys//ntp", "sys/ntp", None),
        ("./sys/./ntp", "sys/ntp", None),
        (".", ".", None),
        ("sys/ntp/60_a.py(a,b)", "sys/ntp/60_a.py", ["a", "b"]),
        ("/sys/60_a.py(x y)", "sys/60_a.py", ["x y"]),
        ("sys/60_a.py()", "sys/60_a.py", []),
        ("sys/60_a.py( )", "sys/60_a.py", [""]),
        ("net/60_http.py(http://h:1/a?b=c)", "net/60_http.py", ["http://h:1/a?b=c"]),
        ("a b/c", "a b/c", None),
        ("..hidden", "..hidden", None),
    ],
)
def test_binding_is_read_as_path_and_arguments(
    text: str, path: str, args: list[str] | None
) -> None:
    binding = parse_binding(text)
    assert (binding.path, binding.args, binding.raw) == (path, args, text)


def test_normal_form_keeps_the_arguments_verbatim() -> None:
    assert parse_binding("/sys//60_a.py( a , b )").text == "sys/60_a.py( a , b )"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "binding-empty"),
        ("  ", "binding-empty"),
        ("/", "binding-empty"),
        ("(a)", "binding-empty"),
        ("/(a)", "binding-empty"),
        ("./(a)", "binding-directory-arguments"),
        (".(a)", "binding-empty"),
        ("..", "binding-leaves-tree"),
        ("../outside", "binding-leaves-tree"),
        ("/../../etc", "binding-leaves-tree"),
        ("sys/../../etc/60_x(a)", "binding-leaves-tree"),
        (".git/hooks", "binding-inside-git"),
        ("sys\0ntp", "binding-control-character"),
        ("sys/ntp\n", "binding-control-character"),
        ("sys\tntp", "binding-control-character"),
        ("sys/60_a(a\nb)", "binding-control-character"),
        ("sys/\ud800", "binding-control-character"),
        (" sys/ntp", "binding-outer-space"),
        ("sys/ntp ", "binding-outer-space"),
        ("sys/60_a.py (a)", "binding-outer-space"),
        ("sys/60_a.py(a", "binding-unbalanced-parentheses"),
        ("sys/60_a.py)", "binding-unbalanced-parentheses"),
        ("sys)60_a.py(", "binding-unbalanced-parentheses"),
        ("sys/60_a.py(a))", "binding-unbalanced-parentheses"),
        ("sys/60_a.py(f(x))", "binding-nested-parentheses"),
        ("sys/60_a(b).py(c)", "binding-nested-parentheses"),
        ("sys/60_a.py(a)b", "binding-text-after-arguments"),
        ("sys/ntp/(a)", "binding-directory-arguments"),
        ("sys/60_a.py(" + "a" * 250 + ")", "binding-too-long"),
    ],
)
def test_binding_is_refused_with_its_reason(text: str, code: str) -> None:
    with pytest.raises(BindingError) as refused:
        parse_binding(text)
    assert refused.value.code == code
    assert refused.value.message and refused.value.hint
    assert "\n" not in str(refused.value)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_and_never_leaves_the_tree(text: str) -> None:
    try:
        binding = parse_binding(text)
    except BindingError:
        return
    assert not binding.path.startswith("/")
    assert ".." not in binding.path.split("/")
    again = parse_binding(binding.text)
    assert (again.path, again.args, again.text) == (binding.path, binding.args, binding.text)


@given(st.text(alphabet="a,\\ \"'b", max_size=40))
def test_arguments_never_lose_a_letter(text: str) -> None:
    letters = [char for char in text if char in "ab"]
    assert [char for arg in parse_args(text) for char in arg if char in "ab"] == letters
