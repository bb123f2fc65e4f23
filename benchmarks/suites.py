"""What can be measured, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack

from msgspec import Struct
from msgspec.structs import replace

from benchmarks import admin, bulk, flows, hot, imports, kv, live, scale, singles, snapshots, stores, threads, web
from benchmarks.ground import NOWHERE, Ground, Store
from benchmarks.rounds import Contestant, measure
from benchmarks.work import AMONG

DATABASES = ("sqlite", "full", "postgresql")
STORES = (*DATABASES, "redis")


class Suite(Struct, frozen=True):
    """Pieces of work that are measured together.

    :param stores: where, by short names.
    :param enter: yields who takes part.
    :param rounds: how many rounds count.
    :param runs: how often each works in a round.
    :param apart: whether one client works at a time, which may have a core of its own.
    """

    stores: tuple[str, ...]
    enter: Callable[[Ground, Store, ExitStack], Iterable[Contestant]]
    rounds: int = 15
    runs: int = 100
    apart: bool = True

    def results(self, ground: Ground) -> list[dict[str, object]]:
        """Measure, store by store, and return what was measured.

        :param ground: the servers, and what the command line asks for.
        """
        rounds = 2 if ground.choice.quick else ground.choice.rounds or self.rounds
        found = []
        ground.place(apart=self.apart)
        for store in ground.stores(self.stores):
            with ExitStack() as stack:
                contestants = list(self.enter(ground, store, stack))
                measure(contestants, rounds=rounds, runs=5 if ground.choice.quick else self.runs)
            found += [contestant.result() for contestant in contestants]
        return found


def growing(ground: Ground, store: Store, stack: ExitStack) -> Iterable[Contestant]:
    """Return reads and searches among ten thousand states and among a million.

    :param ground: says whether to be quick.
    :param store: where.
    :param stack: closes what is opened.
    """
    sizes = (10_000, 20_000) if ground.choice.quick else (scale.SIZES[0], scale.SIZES[-1])
    for contestant in scale.contestants(store, sizes, stack):
        yield replace(contestant, work=f"{contestant.work}{AMONG}")


SUITES = {
    "writes": Suite(DATABASES, singles.writes, rounds=11),
    "reads": Suite(("sqlite", "postgresql"), singles.reads, rounds=11),
    "caches": Suite(("postgresql",), singles.caches, runs=500),
    "bulk": Suite(("sqlite", "postgresql"), bulk.contestants, rounds=3),
    "threads": Suite(("sqlite", "postgresql"), threads.contestants, rounds=7, apart=False),
    "hot": Suite(("postgresql",), hot.contestants, rounds=7, runs=50, apart=False),
    "http": Suite(("sqlite", "postgresql"), web.contestants, rounds=7, runs=1000, apart=False),
    "live": Suite((NOWHERE,), live.contestants, rounds=5, runs=20, apart=False),
    "scale": Suite(("sqlite", "postgresql"), growing, rounds=scale.ROUNDS, runs=scale.RUNS),
    "kv": Suite(("redis", "sqlite", "postgresql"), kv.singles, rounds=11),
    "keys": Suite(("redis", "sqlite", "postgresql"), kv.growing, rounds=5, runs=50),
    "flows": Suite(("redis", "sqlite", "postgresql"), flows.contestants, rounds=11),
    "snapshots": Suite(("redis", "sqlite", "postgresql"), snapshots.contestants, rounds=3),
    "stores": Suite(("sqlite", "redis"), stores.contestants, rounds=5),
    "admin": Suite(("sqlite", "postgresql"), admin.contestants, rounds=5, runs=5),
    "imports": Suite((NOWHERE,), imports.contestants, rounds=9, runs=1),
}
