"""A machine laid out as a picture: statuses below each other, transitions beside them.

Each status has a row for each way out of it, with its name on it, which leads to the lane of the status that it ends
in; all that ends in one status shares its lane. So nothing ever crosses a box or a name, whatever the machine, and the
picture is narrow enough for a phone.

>>> from flask_statemanager.lifecycle.machine import Machine, Transition
>>> drawing = draw(Machine(initial="new", transitions=[Transition("open", "new", "open")], final=["open"]))
>>> [(box.name, box.initial, box.final) for box in drawing.boxes], [way.label for way in drawing.ways]
([('new', True, False), ('open', False, True)], ['open'])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from ..lifecycle.diagram import drawn_edges
from ..lifecycle.machine import Machine
from .charts import COLOURS
from .wording import span, words

LEFT, TOP = 22, 8
LETTER, SMALL = 7.6, 6.4
"""About how wide letters are, in the boxes and beside the ways."""

ROW, FIRST, LOWEST, BETWEEN = 24, 35, 50, 18
"""The height of a row, where the first one is below its box's upper edge, the least height of a box, and the gap."""

LANE, CURVE, INTO = 16, 7, 11
"""How far lanes are apart, the radius of corners, and where below its upper edge ways lead into a box."""

LONGEST_NAME, LONGEST_LABEL = 20, 34


class Box(Struct, frozen=True):
    """A status.

    :param name: the status.
    :param label: how it is written.
    :param y: its upper edge.
    :param height: its height.
    :param initial: whether a new state can have it.
    :param final: whether no transition leaves it.
    """

    name: str
    label: str
    y: int
    height: int
    initial: bool
    final: bool


class Way(Struct, frozen=True):
    """A transition from one status to another.

    :param label: its name and what it depends on, as it is written.
    :param told: the same in words, with where from and where to.
    :param y: the line that the label stands on.
    :param path: the way, in SVG's words; empty where it stays in the status.
    :param colour: 1 to 6, the same for all that lead to one status.
    :param guarded: whether there are conditions.
    """

    label: str
    told: str
    y: int
    path: str
    colour: int
    guarded: bool


class Drawing(Struct, frozen=True):
    """Everything that a template needs for the picture.

    :param width: of the whole picture.
    :param height: of the whole picture.
    :param left: where boxes begin.
    :param box: how wide boxes are.
    :param boxes: the statuses.
    :param ways: the transitions.
    """

    width: int
    height: int
    left: int
    box: int
    boxes: list[Box]
    ways: list[Way]

    @property
    def beside(self) -> int:
        """Where the labels of the ways begin."""
        return self.left + self.box + 10


def draw(machine: Machine, *, deletion: bool = False) -> Drawing:
    """Lay a machine out.

    :param machine: the machine.
    :param deletion: with ``delete``, which leads from everywhere to ``deleted``.
    """
    edges = drawn_edges(machine, deletion=deletion)
    return _Layout(machine, edges).drawing()


class _Layout:
    """One picture on its way.

    :param machine: the machine.
    :param edges: the ways that it has.
    """

    def __init__(self, machine: Machine, edges: Sequence[tuple[str, str, str]]) -> None:
        self._machine = machine
        names = [*machine.statuses, *(["deleted"] if any(target == "deleted" for _, _, target in edges) else [])]
        self._order = {name: place for place, name in enumerate(names)}
        # What leads up stands above what leads down, so that fewer ways cross.
        self._out = {
            name: sorted((edge for edge in edges if edge[0] == name), key=lambda edge: self._order[edge[2]])
            for name in names
        }
        self._boxes = self._stacked(names)
        self._box = _bounded(max(len(box.label) for box in self._boxes.values()) * LETTER + 26, 104, 190)
        labels = [self._label(*edge)[0] for edge in edges]
        self._beside = max((round(len(label) * SMALL) for label in labels), default=0) + 24
        self._lanes = _lanes(self._reaches())

    def _stacked(self, names: Sequence[str]) -> dict[str, Box]:
        boxes, y = {}, TOP
        for name in names:
            height = max(LOWEST, FIRST + ROW * (len(self._out[name]) - 1) + 12)
            ends = self._machine.final | {"deleted"}
            boxes[name] = Box(
                name, _cut(words(name), LONGEST_NAME), y, height, name in self._machine.initial, name in ends
            )
            y += height + BETWEEN
        return boxes

    def _reaches(self) -> dict[str, tuple[int, int]]:
        """Return from where to where the lane of each status goes that something leads to."""
        reaches: dict[str, tuple[int, int]] = {}
        for name, edges in self._out.items():
            for row, (_source, _transition, target) in enumerate(edges):
                if target != name:
                    y, into = self._row(name, row), self._boxes[target].y + INTO
                    low, high = reaches.get(target, (into, into))
                    reaches[target] = min(low, y), max(high, y)
        return reaches

    def _row(self, name: str, row: int) -> int:
        return self._boxes[name].y + FIRST + ROW * row

    def drawing(self) -> Drawing:
        right = LEFT + self._box + self._beside + LANE * (max(self._lanes.values(), default=-1) + 1) + 8
        last = list(self._boxes.values())[-1]
        ways = [self._way(name, row, edge) for name, edges in self._out.items() for row, edge in enumerate(edges)]
        return Drawing(right, last.y + last.height + TOP, LEFT, self._box, list(self._boxes.values()), ways)

    def _way(self, name: str, row: int, edge: tuple[str, str, str]) -> Way:
        source, transition, target = edge
        label, guarded = self._label(source, transition, target)
        y = self._row(name, row)
        path = "" if target == name else self._path(y, target)
        told = f"{words(transition)}: from {words(source)} to {words(target)}" + (", guarded" if guarded else "")
        return Way(label, told, y - 5, path, self._order[target] % COLOURS + 1, guarded)

    def _label(self, source: str, transition: str, target: str) -> tuple[str, bool]:
        edge = self._machine.edge(source, transition)
        guarded = edge is not None and bool(edge.conditions)
        due = [d.span for d in self._machine.deadlines if (d.status, d.transition) == (source, transition)]
        after = f", after {span(due[0].total_seconds())}" if due else ""
        stays = " \u21ba" if source == target else ""
        return _cut(f"{words(transition)}{after}{' [guarded]' if guarded else ''}{stays}", LONGEST_LABEL), guarded

    def _path(self, y: int, target: str) -> str:
        start, lane = LEFT + self._box, LEFT + self._box + self._beside + LANE * self._lanes[target]
        into = self._boxes[target].y + INTO
        turn = CURVE if into > y else -CURVE
        return (
            f"M {start} {y} H {lane - CURVE} Q {lane} {y} {lane} {y + turn} V {into - turn} "
            f"Q {lane} {into} {lane - CURVE} {into} H {start + 3}"
        )


def _lanes(reaches: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Give each reach the lane nearest to the boxes that is free all along it, the short ones first."""
    lanes: dict[str, int] = {}
    taken: list[list[tuple[int, int]]] = []
    for name, (low, high) in sorted(reaches.items(), key=lambda each: each[1][1] - each[1][0]):
        free = (lane for lane, some in enumerate(taken) if all(high < begin or end < low for begin, end in some))
        lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((low, high))
        lanes[name] = lane
    return lanes


def _bounded(value: float, least: int, most: int) -> int:
    return round(min(most, max(least, value)))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
