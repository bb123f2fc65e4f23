"""The figures to reach: each a piece of work, what it is held against, and the bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from benchmarks.work import (
    ADMIN_SLOWEST,
    AMONG,
    BARE_LOOP,
    BY_HAND,
    DRIVER,
    EXTENSION,
    FEW,
    FLOW_TURN,
    GET,
    GREENLETS,
    HELLO,
    HOT,
    HTTP_HELLO,
    HTTP_KEY,
    HTTP_MOVE,
    IMPORT_EXTRAS,
    IMPORT_MEMORY,
    IMPORT_TIME,
    KV_GET,
    KV_SWAP,
    LIVE,
    MANY,
    NEAR,
    NEAR_HIT,
    ONE_STATEMENT,
    ONE_TRIP,
    ORM,
    PLAIN_READ,
    REDIS_HIT,
    REGISTER,
    REGISTER_MANY,
    RESTORE,
    SNAPSHOT,
    THREADS,
    TRACKED,
    UPDATE,
)

NORMAL, FULL, POSTGRES = "SQLite, WAL, NORMAL", "SQLite, WAL, FULL", "PostgreSQL, synchronous_commit on"
FSM, EVENTS = "django-fsm-2 + django-fsm-log", "eventsourcing, cached"

COST, SPEED, OWN = "cost at most", "speed at least", "itself"
"""Time as a multiple of the other's, the other's time as a multiple of the extension's, and its time in units."""

Results = Mapping[tuple[str, str, str], Mapping[str, Any]]
"""What was measured, by store, work and way."""


class Figure(Struct, frozen=True):
    """A bound on what a piece of work costs.

    :param store: where.
    :param work: what is done.
    :param against: who else does it; the extension itself for a bound in units.
    :param sign: :data:`COST`, :data:`SPEED` or :data:`OWN`.
    :param bound: the number.
    :param way: the extension's way.
    """

    store: str
    work: str
    against: str
    sign: str
    bound: float
    way: str = EXTENSION

    def row(self, results: Results) -> dict[str, Any] | None:
        """Return the figure beside what was measured, or None where it was not.

        :param results: what was measured.
        """
        ours = results.get((self.store, self.work, self.way))
        other = results.get((self.store, self.work, self.against))
        if ours is None or other is None:
            return None
        one, two = ours["median"], other["median"]
        return {
            "store": self.store,
            "work": self.work if self.way in (EXTENSION, MANY) else f"{self.work}: {self.way}",
            "ours": f"{one:,.4g} {ours['unit']}",
            "unsteady": ours["unsteady"] or other["unsteady"],
            **(self._alone(one, ours["unit"]) if self.sign == OWN else self._beside(one, two, ours["unit"])),
        }

    def _alone(self, one: float, unit: str) -> dict[str, Any]:
        reach, measured = f"at most {self.bound:g} {unit}", f"{one:.3g} {unit}"
        return {"against": "", "other": "", "reach": reach, "measured": measured, "reached": one <= self.bound}

    def _beside(self, one: float, two: float, unit: str) -> dict[str, Any]:
        found = one / two if self.sign == COST else two / one
        return {
            "against": self.against,
            "other": f"{two:,.4g} {unit}",
            "reach": f"{self.sign} {self.bound:g}",
            "measured": f"{found:.2f}",
            "reached": found <= self.bound if self.sign == COST else found >= self.bound,
        }


FIGURES = (
    Figure(NORMAL, UPDATE, DRIVER, COST, 2.0),
    Figure(FULL, UPDATE, DRIVER, COST, 1.4),
    Figure(POSTGRES, UPDATE, DRIVER, COST, 1.0),
    Figure(POSTGRES, UPDATE, ONE_STATEMENT, COST, 1.4, ONE_TRIP),
    Figure(NORMAL, UPDATE, FSM, SPEED, 6),
    Figure(NORMAL, UPDATE, EVENTS, SPEED, 1.7),
    Figure(POSTGRES, UPDATE, FSM, SPEED, 2.5),
    Figure(POSTGRES, UPDATE, EVENTS, SPEED, 1.7),
    Figure(NORMAL, REGISTER, DRIVER, COST, 2.2),
    Figure(FULL, REGISTER, DRIVER, COST, 2.2),
    Figure(POSTGRES, REGISTER, DRIVER, COST, 1.0),
    Figure("Redis", REDIS_HIT, "redis-py GET + orjson", COST, 1.1),
    Figure("Redis", REDIS_HIT, "Flask-Caching, RedisCache", SPEED, 1),
    Figure("the process", NEAR_HIT, EXTENSION, OWN, 4),
    Figure("the process", NEAR_HIT, "Flask-Caching, SimpleCache", SPEED, 1),
    Figure(NORMAL, GET, DRIVER, COST, 3),
    Figure(POSTGRES, GET, DRIVER, COST, 1.6),
    Figure(POSTGRES, HOT, DRIVER, SPEED, 0.8),
    Figure("Redis", KV_GET, DRIVER, COST, 1.3),
    Figure("Redis", KV_SWAP, DRIVER, COST, 1.3),
    Figure("Redis", FLOW_TURN, DRIVER, COST, 1.5),
    *(Figure(store, work, PLAIN_READ, SPEED, 0.5) for store in (NORMAL, POSTGRES) for work in (SNAPSHOT, RESTORE)),
    *(
        Figure(store, f"{work}{AMONG}", FEW, COST, 1.5, MANY)
        for store in (NORMAL, POSTGRES)
        for work in (GET, "history of a state", "page in the default order", "page by an indexed field")
    ),
    Figure(NORMAL, REGISTER_MANY, DRIVER, SPEED, 0.6),
    Figure(POSTGRES, REGISTER_MANY, DRIVER, SPEED, 0.6),
    Figure(NORMAL, HTTP_KEY, HELLO, SPEED, 0.75),
    Figure(POSTGRES, HTTP_KEY, HELLO, SPEED, 0.75, NEAR),
    Figure(POSTGRES, HTTP_KEY, BY_HAND, SPEED, 0.85),
    Figure(POSTGRES, HTTP_MOVE, ORM, SPEED, 3),
    *(Figure(store, HTTP_HELLO, HELLO, SPEED, 0.9, TRACKED) for store in (NORMAL, POSTGRES)),
    *(Figure("", LIVE, BARE_LOOP, COST, 2.0, way) for way in (THREADS, GREENLETS)),
    *(Figure(store, ADMIN_SLOWEST, EXTENSION, OWN, 200) for store in (NORMAL, POSTGRES)),
    Figure("", IMPORT_TIME, EXTENSION, OWN, 30),
    Figure("", IMPORT_MEMORY, EXTENSION, OWN, 4),
    Figure("", IMPORT_EXTRAS, EXTENSION, OWN, 0),
)


def table(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the figures that were measured.

    :param results: what was measured.
    """
    known = {(each["store"], each["work"], each["way"]): each for each in results}
    return [row for figure in FIGURES if (row := figure.row(known)) is not None]
