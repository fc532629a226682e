"""A manifest's dashboards: layout strings, the odd forms of public manifests, and what cannot be drawn."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentplugin.dashboards import problems, read
from agentplugin.manifest import Manifest, parse


def manifest(**fields: Any) -> Manifest:
    return parse(json.dumps({"name": "Web", "command": "x", "metrics": ["A", "B_C"], **fields}))


def layout(text: str) -> Manifest:
    return manifest(dashboards=[{"name": "D", "layout": text}])


def graph(metric: str, column: int, row: int, width: int, height: int, half: str = "") -> Any:
    return {"metric": metric, "column": column, "row": row, "width": width, "height": height,
            "half": half}  # fmt: skip


def test_layout_string_becomes_a_grid_of_graphs() -> None:
    got = layout("d-w=3&d-h=2&d-pad=5&d-bg=none&d-light=1&d-g-A=0-0-3-1&d-g-B_C=0-1-2-1-b")
    assert problems(got) == []
    assert [dashboard.as_dict() for dashboard in read(got)] == [
        {"name": "D", "columns": 3, "rows": 2, "padding": 5, "background": "none", "light": True,
         "graphs": [graph("A", 0, 0, 3, 1), graph("B_C", 0, 1, 2, 1, "bottom")]}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "columns", "rows", "graphs"),
    [
        ("d-g-a=1-1-1-1-t", 2, 2, [graph("A", 1, 1, 1, 1, "top")]),
        ("?d-w=1&d-g-A=0-0-2-3&", 2, 3, [graph("A", 0, 0, 2, 3)]),
        ("d-g-B%5FC=0-0-1-1&d-light=0", 1, 1, [graph("B_C", 0, 0, 1, 1)]),
        (" d-w = 4 & d-g-A = 0-0-1-1 ", 4, 1, [graph("A", 0, 0, 1, 1)]),
    ],
)
def test_layout_is_read_leniently(text: str, columns: int, rows: int, graphs: Any) -> None:
    assert problems(layout(text)) == []
    (dashboard,) = read(layout(text))
    assert (dashboard.columns, dashboard.rows) == (columns, rows)
    assert [one.as_dict() for one in dashboard.graphs] == graphs


def test_odd_forms_of_public_manifests_are_understood() -> None:
    named = manifest(dashboards=[{"title": "T", "layout": "d-g-A=0-0-1-1"}])
    assert [dashboard.name for dashboard in read(named)] == ["T"]
    single = manifest(dashboards={"layout": "d-g-A=0-0-1-1"})
    assert [dashboard.name for dashboard in read(single)] == ["Dashboard 1"]
    (listed,) = read(manifest(dashboard=["a", "B_C", "A"]))
    assert (listed.name, listed.columns, listed.rows) == ("Web", 2, 2)
    assert [one.as_dict() for one in listed.graphs] == [
        graph("A", 0, 0, 1, 1), graph("B_C", 1, 0, 1, 1), graph("A", 0, 1, 1, 1),
    ]  # fmt: skip
    for nothing in (None, [], "", [{}]):
        empty = manifest(dashboards=nothing)
        assert (read(empty), problems(empty)) == ([], [])


@pytest.mark.parametrize(
    ("dashboards", "pointer", "words"),
    [
        ([{"name": "D", "layout": "d-g-A=0-0-1-1&zz=1"}], "/dashboards/0", "'zz=1' cannot be read"),
        ([{"layout": "d-g-A=0-0-1-1&d-w=x"}], "/dashboards/0", "'d-w=x' cannot be read"),
        ([{"layout": "d-g-A=0-0-1-1&d-h=999"}], "/dashboards/0", "'d-h=999' cannot be read"),
        ([{"layout": "d-g-A=0-0-1-1&d-g-A=0-0-0-1"}], "/dashboards/0", "cannot be read"),
        ([{"layout": "d-g-A=0-0-1-1&d-g-=0-0-1-1"}], "/dashboards/0", "cannot be read"),
        ([{}, {"layout": "d-w=1"}], "/dashboards/1", "dashboards[1]: its layout has no graph"),
        ([{"name": "D"}], "/dashboards/0", "dashboards[0]: it has no layout"),
        ([{"layout": 5}], "/dashboards/0", "it has no layout"),
        ([5], "/dashboards/0", "5 is no object"),
        ("x", "/dashboards", "dashboards: 'x' is no object"),
        ([{"layout": "d-g-A=0-0-1-1&d-g-X=1-0-1-1&d-g-Y=2-0-1-1"}], "/dashboards/0",
         "has graphs of 'X', 'Y', which metrics does not list"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said(dashboards: Any, pointer: str, words: str) -> None:
    (problem,) = problems(manifest(dashboards=dashboards))
    assert (problem.severity, problem.pointer) == ("warning", pointer)
    assert words in problem.message and problem.hint


def test_what_only_the_original_pages_show_is_no_fault() -> None:
    assert problems(layout("d-range=60&d-g-A=0-0-1-1&d-smooth=on")) == []
    for text in ("d-g-A=0-0-1-1&d-sg-ni=1-1-1-1-t&d-sg-no=1-1-1-1-b", "d-sg-ni=1-1-1-1&d-sg-no=x"):
        (said,) = problems(layout(text))
        assert (said.severity, said.pointer) == ("info", "/dashboards/0")
        assert "'d-sg-ni', 'd-sg-no' show values of the original meter" in said.message


def test_layout_of_very_many_pieces_is_read_in_part() -> None:
    got = layout("&".join(f"d-g-A={number % 90}-0-1-1" for number in range(5000)))
    assert [problem.message for problem in problems(got)] == [
        "dashboards[0]: its layout has 5000 pieces: 200 are read"
    ]
    assert len(read(got)[0].graphs) == 200


@given(st.text(max_size=40) | st.text("d-gwhAB=&%0123456789tb", max_size=60))
def test_any_layout_is_read_or_said_to_be_unreadable(text: str) -> None:
    got = layout(text)
    assert bool(read(got)) or bool(problems(got))
    for dashboard in read(got):
        for one in dashboard.graphs:
            assert 0 <= one.column < one.column + one.width <= dashboard.columns <= 100
            assert 0 <= one.row < one.row + one.height <= dashboard.rows <= 100
