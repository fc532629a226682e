"""Label rules: what they fit, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.fleet.rules import RuleError, parse

WEB = {"idc": "bj", "role": "web", "empty": ""}


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ("idc=bj", True),
        ("idc==bj", True),
        ("idc = bj , role != db", True),
        ("idc=sh", False),
        ("idc=bj,role!=web", False),
        ("rack!=r1", True),  # a label that is not there is not that value
        ("rack", False),
        ("idc", True),
        ("!rack", True),
        ("! idc", False),
        ("idc in (bj sh)", True),
        ("idc in (bj,sh)", True),
        ("idc in ( sh )", False),
        ("idc notin (sh gz)", True),
        ("idc notin (bj)", False),
        ("rack notin (r1)", True),
        ("empty=", True),
        ("rack=", False),
        ("role in (web db), role!=db", True),
        ("idc=bj,idc=bj", True),
        ("role=web,idc in (bj sh),!rack,idc", True),
        ("", False),
        ("   ", False),
        ("in=1", False),
    ],
)
def test_a_rule_fits_hosts_by_their_labels(rule: str, fits: bool) -> None:
    assert parse(rule).fits(WEB) is fits


@pytest.mark.parametrize("labels", [{}, WEB])
def test_an_empty_rule_fits_no_host(labels: dict[str, str]) -> None:
    assert not parse("").fits(labels)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("idc=bj,", "at character 8: expected the name of a label"),
        ("=bj", "at character 1: expected the name of a label"),
        ("idc=bj role=web", "at character 8: expected ',' or the end, not 'role'"),
        ("idc bj", "at character 5: expected =, !=, in, notin or ',' after label 'idc'"),
        ("idc=bj;role=web", "at character 7: ';' cannot stand in a rule"),
        ("idc=(bj)", "at character 5: expected a value, not '('"),
        ("idc in bj", "at character 8: expected '(' and values"),
        ("idc in (", "at character 8: the '(' is never closed"),
        ("idc in (bj", "at character 8: the '(' is never closed"),
        ("idc in (=)", "at character 9: expected a value or ')'"),
        ("idc in ()", "at character 8: there is no value between"),
        ("-idc=bj", "at character 1: '-idc' is not the name of a label"),
        ("!", "at character 2: expected the name of a label"),
        ("idc=bj,\u202erole=web", "cannot stand in a rule"),
        (",".join(["a"] * 101), "more than 100 requirements"),
        ("idc=bj,idc=sh", "at character 8: no value of label 'idc' can fit"),
        ("idc=bj,idc!=bj", "no value of label 'idc' can fit"),
        ("idc in (bj sh),idc notin (sh bj)", "no value of label 'idc' can fit"),
        ("idc,!idc", "label 'idc' would have to be there and not be there"),
        ("!idc,idc=bj", "label 'idc' would have to be there and not be there"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_where_it_is_wrong(rule: str, message: str) -> None:
    with pytest.raises(RuleError) as raised:
        parse(rule)
    assert message in str(raised.value)


_WORDS = st.sampled_from(["a", "b", "in", "notin", "x.y/z"])
_SIGNS = st.sampled_from(["=", "!=", "==", "!", ",", "(", ")", " ", "in", "notin", "$", "\n"])


@given(st.lists(st.one_of(_WORDS, _SIGNS), max_size=12).map(" ".join))
def test_any_text_is_a_rule_or_an_error_and_nothing_else(text: str) -> None:
    try:
        rule = parse(text)
    except RuleError:
        return
    assert parse(rule.text).fits({"a": "b"}) == rule.fits({"a": "b"})


@given(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz")),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), min_size=1),
)
def test_requirements_are_joined_by_and(labels: dict[str, str], wanted: dict[str, str]) -> None:
    rule = ",".join(f"{key}={value}" for key, value in wanted.items())
    assert parse(rule).fits(labels) == (wanted.items() <= labels.items())
