"""A manifest's `dashboards`: which graph stands where (rules: the layout strings of 132 public
manifests, query strings such as `d-w=3&d-h=2&d-g-CPU_LOAD=0-1-3-1-b`, and the odd forms among them)."""

from __future__ import annotations

import re

from agentplugin.paramtypes import as_written
from agentplugin.problems import Problem, info, shown, warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentplugin.manifest import Manifest

MAX_CELLS = 100
"""Columns and rows that a dashboard may have; public ones have 1 to 6."""

_MAX_DASHBOARDS = 20
_MAX_PIECES = 200
_GRAPH = re.compile(r"([0-9]{1,3})-([0-9]{1,3})-([0-9]{1,3})-([0-9]{1,3})(?:-([tb]))?")
_NUMBER = re.compile(r"[0-9]{1,4}")
_LOOK = re.compile("d-[a-z]+")
_ESCAPED = re.compile("(?:%[0-9A-Fa-f]{2})+")
_NUMBERS = ("d-w", "d-h", "d-pad", "d-light")
_HALVES = {"t": "top", "b": "bottom"}
_LIST_COLUMNS = 2  # of a dashboard that only names its metrics


class Graph:
    """One metric's graph: column, row, width and height in cells from the upper left corner.

    half  "top" or "bottom" where another metric's graph has the other half of the cells, else ""
    """

    __slots__ = ("column", "half", "height", "metric", "row", "width")

    def __init__(
        self, metric: str, column: int, row: int, width: int, height: int, half: str = ""
    ) -> None:
        self.metric = metric
        self.column = column
        self.row = row
        self.width = width
        self.height = height
        self.half = half

    def as_dict(self) -> dict[str, Any]:
        """The graph as JSON."""
        return {name: getattr(self, name) for name in
                ("metric", "column", "row", "width", "height", "half")}  # fmt: skip


class Dashboard:
    """One dashboard: `columns` x `rows` cells; `padding` in pixels, `background` as written.

    unread    what could not be read of it, one sentence each
    of_meter  keys of graphs that show the original meter's own values: d-sg-cpu
    """

    __slots__ = (
        "background", "columns", "graphs", "light", "name", "of_meter", "padding", "rows", "unread",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.columns = 0
        self.rows = 0
        self.padding = 0
        self.background = ""
        self.light = False
        self.graphs: list[Graph] = []
        self.unread: list[str] = []
        self.of_meter: list[str] = []

    def as_dict(self) -> dict[str, Any]:
        """The dashboard as JSON, without what could not be read."""
        return {
            "name": self.name,
            "columns": self.columns,
            "rows": self.rows,
            "padding": self.padding,
            "background": self.background,
            "light": self.light,
            "graphs": [graph.as_dict() for graph in self.graphs],
        }


def read(manifest: Manifest) -> list[Dashboard]:
    """A manifest's dashboards, those that cannot be read at all left out."""
    return [dashboard for _, dashboard in _found(manifest) if dashboard.graphs]


def problems(manifest: Manifest) -> list[Problem]:
    """What in the dashboards cannot be drawn; a pointer tells where each one stands."""
    listed = {metric.upper() for metric in manifest.metrics}
    found: list[Problem] = []
    for pointer, dashboard in _found(manifest):
        where = pointer[1:].replace("/", "[", 1) + "]" if pointer.count("/") > 1 else pointer[1:]
        for what in dashboard.unread:
            found.append(
                warning(
                    manifest.path,
                    "manifest-dashboard",
                    f"{where}: {what}",
                    'write {"name": "...", "layout": "d-w=2&d-h=1&d-g-METRIC=0-0-2-1"}',
                    pointer=pointer,
                )
            )
        if dashboard.of_meter:
            keys = ", ".join(shown(key, 20) for key in dashboard.of_meter[:5])
            found.append(
                info(
                    manifest.path,
                    "manifest-dashboard",
                    f"{where}: {keys} show values of the original meter itself, which no plugin "
                    "prints: they are left out",
                    "leave them where a meter still draws the dashboard, else remove them",
                    pointer=pointer,
                )
            )
        unknown = sorted({graph.metric for graph in dashboard.graphs} - listed)
        if unknown and listed:
            names = ", ".join(shown(name, 40) for name in unknown[:5])
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            found.append(
                warning(
                    manifest.path,
                    "manifest-dashboard-metric",
                    f"{where} has graphs of {names}{more}, which metrics does not list: they stay "
                    "empty",
                    "correct the name in the layout, or list the metric",
                    pointer=pointer,
                )
            )
    return found


def _found(manifest: Manifest) -> list[tuple[str, Dashboard]]:
    """Each dashboard with the JSON pointer to it."""
    found: list[tuple[str, Dashboard]] = []
    # One public manifest has `dashboard`, which lists metrics.
    for field in ("dashboards", "dashboard"):
        value = manifest.raw.get(field)
        if value is None or value == [] or value == "":
            continue
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            found.append((f"/{field}", _of_metrics(manifest.name, value)))
        elif isinstance(value, list):
            for number, entry in enumerate(value[:_MAX_DASHBOARDS]):
                if entry != {}:
                    found.append((f"/{field}/{number}", _dashboard(entry, number)))
        else:
            found.append((f"/{field}", _dashboard(value, 0)))
    return found


def _of_metrics(name: str, metrics: list[str]) -> Dashboard:
    """A dashboard that only lists metrics: they are put side by side."""
    dashboard = Dashboard(name)
    for number, metric in enumerate(metrics[: MAX_CELLS * _LIST_COLUMNS]):
        row, column = divmod(number, _LIST_COLUMNS)
        dashboard.graphs.append(Graph(metric.strip().upper(), column, row, 1, 1))
    dashboard.columns = min(len(metrics), _LIST_COLUMNS)
    dashboard.rows = (len(dashboard.graphs) + _LIST_COLUMNS - 1) // _LIST_COLUMNS
    return dashboard


def _dashboard(entry: Any, number: int) -> Dashboard:
    if not isinstance(entry, dict):
        dashboard = Dashboard("")
        dashboard.unread.append(f"{as_written(entry)} is no object with name and layout")
        return dashboard
    # One public manifest writes `title` where all others write `name`.
    name = entry.get("name") or entry.get("title")
    dashboard = Dashboard(name if isinstance(name, str) else f"Dashboard {number + 1}")
    layout = entry.get("layout")
    if isinstance(layout, str) and layout.strip():
        _read_layout(dashboard, layout)
    else:
        dashboard.unread.append("it has no layout, so there is nothing to draw")
    return dashboard


def _read_layout(dashboard: Dashboard, layout: str) -> None:
    pieces = [piece for piece in layout.strip().lstrip("?").split("&") if piece]
    if len(pieces) > _MAX_PIECES:
        dashboard.unread.append(f"its layout has {len(pieces)} pieces: {_MAX_PIECES} are read")
    for piece in pieces[:_MAX_PIECES]:
        key, _, value = (_unescaped(part).strip() for part in piece.partition("="))
        if key.startswith("d-sg-"):
            dashboard.of_meter.append(key)
        elif not _setting(dashboard, key, value):
            dashboard.unread.append(f"its layout's {shown(piece)} cannot be read")
    if not dashboard.graphs and not dashboard.of_meter:
        dashboard.unread.append("its layout has no graph (d-g-METRIC=x-y-w-h)")
    if not dashboard.graphs:
        return
    # The frame is as large as what is in it, whatever it says of itself.
    right = max(graph.column + graph.width for graph in dashboard.graphs)
    bottom = max(graph.row + graph.height for graph in dashboard.graphs)
    dashboard.columns = max(dashboard.columns, right)
    dashboard.rows = max(dashboard.rows, bottom)


def _setting(dashboard: Dashboard, key: str, value: str) -> bool:
    """Takes one piece of a layout; whether it could be read."""
    if key.startswith("d-g-"):
        return _graph(dashboard, key[4:].upper(), value)
    if key == "d-bg":
        dashboard.background = value[:40]
        return True
    if key not in _NUMBERS:
        # A look of the original pages that is not drawn here: d-rrange=120.
        return _LOOK.fullmatch(key) is not None
    if not _NUMBER.fullmatch(value):
        return False
    number = int(value)
    if key in ("d-w", "d-h"):
        if not 0 < number <= MAX_CELLS:
            return False
        if key == "d-w":
            dashboard.columns = number
        else:
            dashboard.rows = number
    elif key == "d-pad":
        dashboard.padding = number
    else:
        dashboard.light = number != 0
    return True


def _graph(dashboard: Dashboard, metric: str, value: str) -> bool:
    match = _GRAPH.fullmatch(value)
    if match is None or not metric:
        return False
    column, row, width, height = (int(number) for number in match.groups()[:4])
    if not width or not height or column + width > MAX_CELLS or row + height > MAX_CELLS:
        return False
    half = _HALVES.get(match.group(5) or "", "")
    dashboard.graphs.append(Graph(metric, column, row, width, height, half))
    return True


def _unescaped(text: str) -> str:
    """Text of a query string with its %XX read; what is no UTF-8 becomes a replacement mark."""

    def decoded(match: re.Match[str]) -> str:
        return bytes.fromhex(match.group().replace("%", "")).decode("utf-8", "replace")

    return _ESCAPED.sub(decoded, text)
