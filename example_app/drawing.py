"""A machine drawn as an arc diagram: its statuses in a row, transitions to the right above, to the left below.

Arcs never cross a box, whatever the machine, so no layout has to be computed.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask_statemanager import Machine

BOX, GAP, HEIGHT, MARGIN, STEP = 112, 76, 40, 30, 46


@dataclass(frozen=True, slots=True)
class Box:
    """One status.

    :param name: the status.
    :param x: its left edge.
    :param initial: whether a new state can have it.
    :param final: whether it is an end.
    """

    name: str
    x: int
    initial: bool
    final: bool


@dataclass(frozen=True, slots=True)
class Arc:
    """The transitions from one status to another.

    :param label: their names.
    :param path: the curve, in SVG's words.
    :param x: where the label's middle is.
    :param y: the label's line.
    """

    label: str
    path: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """Everything that the template needs for the picture."""

    width: int
    height: int
    top: int
    boxes: list[Box]
    arcs: list[Arc]


def draw(machine: Machine) -> Drawing:
    """Lay a machine out; ``update`` and ``delete`` are left to the text below the picture.

    :param machine: the machine.
    """
    order = {status: index for index, status in enumerate(machine.statuses)}
    ways: dict[tuple[int, int], list[str]] = {}
    for source, name, target in machine.edges():
        if name not in ("update", "delete"):
            ways.setdefault((order[source], order[target]), []).append(name)
    above = max((to - start for start, to in ways if to >= start), default=0)
    below = max((start - to for start, to in ways if to < start), default=0)
    top = MARGIN + STEP * above + 10
    boxes = [
        Box(status, MARGIN + index * (BOX + GAP), status in machine.initial, status in machine.final)
        for status, index in order.items()
    ]
    width = 2 * MARGIN + len(boxes) * (BOX + GAP) - GAP
    arcs = [_arc(start, to, ", ".join(names), top) for (start, to), names in ways.items()]
    return Drawing(width, top + HEIGHT + STEP * below + MARGIN + 10, top, boxes, arcs)


def _arc(start: int, to: int, label: str, top: int) -> Arc:
    left = MARGIN + BOX // 2
    # Arcs leave a box right of its middle and arrive left of it when they run to the right, so that no two touch.
    out, into = (20, -20) if to > start else (-20, 20)
    x1, x2 = left + start * (BOX + GAP) + out, left + to * (BOX + GAP) + into
    if start == to:
        x1, x2 = x1 + 52, x2 - 52
    span = max(1, abs(to - start))
    edge, lift = (top, -1) if to >= start else (top + HEIGHT, 1)
    peak = edge + lift * STEP * span * 4 // 3
    path = f"M {x1} {edge} C {x1} {peak}, {x2} {peak}, {x2} {edge + lift * 4}"
    return Arc(label, path, (x1 + x2) // 2, edge + lift * STEP * span + 4)
