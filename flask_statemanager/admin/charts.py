"""Charts, laid out here and drawn as SVG by ``charts.html``; each carries the rows of the table that says the same.

Positions across are percent of the width, so that a drawing fits any screen with its letters as large as all others;
positions down are pixels of a drawing of fixed height.

>>> chart = bars("Changes", [Point("10:00", 4), Point("10:05", 8)])
>>> chart.shapes[1].label, chart.shapes[1].height > chart.shapes[0].height
('10:05: 8', True)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from .wording import number

HEIGHT = 150
"""Pixels of the drawing of bars and lines."""

BOTTOM = 20
"""Pixels below it, for the labels across."""

TOP = 8
"""Pixels above the highest value."""

COLOURS = 6
"""How many colours the stylesheet has, ``c1`` to ``c6``."""

_RADIUS, _HOLE = 48.0, 31.0
_GAP = 0.18
_STEPS = (1, 2, 5, 10)


class Point(Struct, frozen=True):
    """A value with its label.

    :param label: what it is the value of.
    :param value: the value, at least 0.
    :param mark: what stands below it on the axis; empty for nothing.
    """

    label: str
    value: float
    mark: str = ""


class Shape(Struct, frozen=True):
    """A bar, or a piece of a strip or a ring.

    :param x: where it begins, in percent.
    :param width: in percent.
    :param y: its upper edge, in pixels.
    :param height: in pixels.
    :param label: what it says when it is pointed at.
    :param colour: the class that colours it.
    :param path: the outline of a piece of a ring; empty for what is a rectangle.
    """

    x: float
    width: float
    y: float
    height: float
    label: str
    colour: str = "c1"
    path: str = ""


class Mark(Struct, frozen=True):
    """A label at an axis.

    :param at: where: in percent across, in pixels down.
    :param text: the label.
    :param anchor: which end of the text is there: ``start``, ``middle`` or ``end``.
    """

    at: float
    text: str
    anchor: str = "middle"


class Line(Struct, frozen=True):
    """A line of a chart of lines.

    :param name: what it shows.
    :param colour: the class that colours it.
    :param points: its points for ``<polyline>``, in percent across and pixels down.
    """

    name: str
    colour: str
    points: str


class Chart(Struct, frozen=True):
    """A drawing.

    :param kind: ``bars``, ``lines``, ``ring`` or ``strip``.
    :param caption: what it shows.
    :param heads: the heads of its table.
    :param rows: the rows of its table.
    :param shapes: its bars or pieces.
    :param lines: its lines.
    :param across: the labels of the axis across.
    :param up: the labels of the axis upwards, each with a line.
    """

    kind: str
    caption: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    shapes: Sequence[Shape] = ()
    lines: Sequence[Line] = ()
    across: Sequence[Mark] = ()
    up: Sequence[Mark] = ()

    @property
    def height(self) -> int:
        """Pixels of the whole drawing."""
        return HEIGHT + BOTTOM


def bars(caption: str, points: Sequence[Point], heads: tuple[str, str] = ("When", "Number")) -> Chart:
    """Lay out bars.

    :param caption: what they show.
    :param points: the values, from left to right.
    :param heads: the heads of the table.
    """
    top, up = _upwards([point.value for point in points])
    step = 100 / max(1, len(points))
    shapes = []
    for index, point in enumerate(points):
        height = _pixels(point.value, top)
        label = f"{point.label}: {_written(point.value)}"
        shapes.append(
            Shape(
                _round(index * step + step * _GAP / 2),
                _round(step * (1 - _GAP)),
                _round(HEIGHT - height),
                height,
                label,
            )
        )
    rows = [(point.label, _written(point.value)) for point in points]
    return Chart("bars", caption, heads, rows, shapes=shapes, across=_across(points, step), up=up)


def lines(caption: str, series: Sequence[tuple[str, Sequence[Point]]], head: str = "When") -> Chart:
    """Lay out lines over one axis.

    :param caption: what they show.
    :param series: the lines by name, all with the same labels.
    :param head: the head of the table's first column.
    """
    labels = series[0][1] if series else ()
    top, up = _upwards([point.value for _name, points in series for point in points])
    step = 100 / max(1, len(labels))
    drawn = []
    for index, (name, points) in enumerate(series):
        places = (
            f"{_round((at + 0.5) * step)},{_round(HEIGHT - _pixels(point.value, top))}"
            for at, point in enumerate(points)
        )
        drawn.append(Line(name, colour(index), " ".join(places)))
    rows = [(each.label, *(_written(points[at].value) for _name, points in series)) for at, each in enumerate(labels)]
    heads = (head, *(name for name, _points in series))
    return Chart("lines", caption, heads, rows, lines=drawn, across=_across(labels, step), up=up)


def strip(caption: str, points: Sequence[Point], colours: Sequence[str] = ()) -> Chart:
    """Lay out shares of a whole side by side.

    :param caption: what they show.
    :param points: the parts.
    :param colours: the classes that colour them; by default one after the other.
    """
    total, reached, shapes = sum(point.value for point in points), 0.0, []
    for index, point in enumerate(points):
        width = 100 * point.value / total if total else 0.0
        shown = colours[index] if index < len(colours) else colour(index)
        shapes.append(Shape(_round(reached), _round(width), 0, 10, f"{point.label}: {_written(point.value)}", shown))
        reached += width
    rows = [(point.label, _written(point.value)) for point in points]
    return Chart("strip", caption, ("Part", "Number"), rows, shapes=shapes)


def donut(caption: str, points: Sequence[Point]) -> Chart:
    """Lay out shares of a whole as a ring, the first at the top, clockwise.

    :param caption: what they show.
    :param points: the parts; those without a value are left out.
    """
    total, reached, shapes = sum(point.value for point in points), 0.0, []
    for index, point in enumerate(points):
        if point.value <= 0:
            continue
        turn = point.value / total
        label = f"{point.label}: {_written(point.value)}"
        shapes.append(Shape(0, 0, 0, 0, label, colour(index), _ring(reached, reached + turn)))
        reached += turn
    rows = [(point.label, _written(point.value)) for point in points]
    return Chart("ring", caption, ("Part", "Number"), rows, shapes=shapes)


def colour(index: int) -> str:
    """Return the class of a colour; those that come last share one.

    :param index: from 0 on.
    """
    return f"c{min(index + 1, COLOURS)}"


def _ring(begin: float, end: float) -> str:
    """Return the outline of a piece of a ring round (50, 50), between two parts of a turn."""
    # A whole turn would begin and end at the same point, and draw nothing.
    end = min(end, begin + 0.99999)
    (x1, y1), (x2, y2) = _around(begin, _RADIUS), _around(end, _RADIUS)
    (x3, y3), (x4, y4) = _around(end, _HOLE), _around(begin, _HOLE)
    large = int(end - begin > 0.5)
    outer = f"M {x1} {y1} A {_RADIUS} {_RADIUS} 0 {large} 1 {x2} {y2}"
    return f"{outer} L {x3} {y3} A {_HOLE} {_HOLE} 0 {large} 0 {x4} {y4} Z"


def _around(turn: float, radius: float) -> tuple[float, float]:
    angle = 2 * math.pi * turn
    return _round(50 + radius * math.sin(angle)), _round(50 - radius * math.cos(angle))


def _upwards(values: Sequence[float]) -> tuple[float, list[Mark]]:
    """Return the value at the upper end of an axis, and its labels: 0 and up to four round numbers."""
    most = max(values, default=0)
    rough = max(most, 1) / 3
    power = 10 ** math.floor(math.log10(rough))
    step = max(1.0, next(each * power for each in _STEPS if each * power >= rough))
    top = step * max(1, math.ceil(most / step))
    marks = [index * step for index in range(1, round(top / step) + 1)]
    return top, [Mark(_round(HEIGHT - _pixels(value, top)), _written(value), "end") for value in marks]


def _across(points: Sequence[Point], step: float) -> list[Mark]:
    return [Mark(_round((index + 0.5) * step), each.mark) for index, each in enumerate(points) if each.mark]


def _pixels(value: float, top: float) -> float:
    height = (HEIGHT - TOP) * value / top
    return _round(max(1.5, height) if value > 0 else 0.0)


def _round(value: float) -> float:
    return round(value, 3)


def _written(value: float) -> str:
    return number(int(value)) if float(value).is_integer() else f"{value:,.2f}"
