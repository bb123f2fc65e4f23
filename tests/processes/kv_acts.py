"""What racers do with keys and values."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

from flask_statemanager import StateConflict
from flask_statemanager.kv import If, Put
from tests.processes.application import Shared

STEPS = 25
"""How often each racer counts, and moves money, in one round."""

ACCOUNTS, MONEY = 4, 100
HITS, LIMIT = 10, 25
LEASE = 0.02
"""Seconds; shorter than what some of its holders do."""


def count_by_swap(shared: Shared, turn: int, me: int) -> int:
    """Count up, each time over the value that was read; return how many attempts that took."""
    kv, attempts = shared.states.kv, 0
    for _ in range(STEPS):
        swapped = False
        while not swapped:
            attempts += 1
            seen = kv.get(f"s{turn}")
            swapped = kv.compare_and_swap(f"s{turn}", seen, 1 if seen is None else seen + 1)
    return attempts


def count_by_version(shared: Shared, turn: int, me: int) -> int:
    """Count up, each time over the version that was read; return how many attempts were in vain."""
    kv, lost = shared.states.kv, 0
    for _ in range(STEPS):
        while True:
            seen = kv.get_entry("v")
            try:
                kv.set("v", seen.value + 1, expect=seen.version)
                break
            except StateConflict:
                lost += 1
    return lost


def count_by_increment(shared: Shared, turn: int, me: int) -> list[int | float]:
    """Count up; return the sums."""
    return [shared.states.kv.increment(f"i{turn}") for _ in range(STEPS)]


def begin_it(shared: Shared, turn: int, me: int) -> int:
    """Create a key that everybody wants to create."""
    return int(shared.states.kv.create(f"c{turn}", me).version)


def swap_from_nothing(shared: Shared, turn: int, me: int) -> bool:
    """Put a value where there is none."""
    return bool(shared.states.kv.compare_and_swap(f"n{turn}", None, me))


def remove_it(shared: Shared, turn: int, me: int) -> bool:
    """Remove a key that everybody wants to remove."""
    return bool(shared.states.kv.remove(f"r{turn}"))


def make_anew(shared: Shared, turn: int, me: int) -> int:
    """Remove a key of which everybody knows the version, and make it anew with the same value."""
    kv, seen = shared.states.kv, 2 * turn + 1
    kv.remove("aba", expect=seen)
    version: int = kv.create("aba", "the same").version
    return version


def cross(shared: Shared, turn: int, me: int) -> str:
    """Set one of two keys if there is not the other; even racers want one, odd ones the other."""
    mine, other = (f"x{turn}", f"y{turn}") if me % 2 else (f"y{turn}", f"x{turn}")
    shared.states.kv.apply([If.absent(other)], [Put(mine, me)])
    return mine


def cross_by_value(shared: Shared, turn: int, me: int) -> str:
    """Leave the watch if the other one is on it: somebody has to stay."""
    mine, other = ("a", "b") if me % 2 else ("b", "a")
    shared.states.kv.apply([If.value(f"{other}{turn}", "on")], [Put(f"{mine}{turn}", "off")])
    return mine


def transfer(shared: Shared, turn: int, me: int) -> int:
    """Move money between accounts, which must not go below 0; return how many attempts were in vain."""
    kv, lost, chance = shared.states.kv, 0, random.Random(100 * turn + me)
    for _ in range(STEPS):
        payer, payee = chance.sample(range(ACCOUNTS), 2)
        while True:
            first, second = kv.get_entry(f"account:{payer}"), kv.get_entry(f"account:{payee}")
            amount = min(first.value, chance.randrange(MONEY))
            conditions = [If.version(first.key, first.version), If.version(second.key, second.version)]
            try:
                kv.apply(conditions, [Put(first.key, first.value - amount), Put(second.key, second.value + amount)])
                break
            except StateConflict:
                lost += 1
    return lost


def take_lease(shared: Shared, turn: int, me: int) -> int | None:
    """Take a lease that everybody wants; return its token."""
    lease = shared.states.kv.lease(f"l{turn}", ttl=3600, holder=f"racer {me}")
    return lease.token if lease.acquire() else None


def count_under_lease(shared: Shared, turn: int, me: int) -> list[int]:
    """Count up while holding a lease, often for longer than that; return the tokens under which it was counted."""
    kv, tokens, chance, ttl = shared.states.kv, [], random.Random(100 * turn + me), LEASE
    for step in range(40 * STEPS):
        if step >= STEPS and tokens:
            break
        lease = kv.lease("lease", ttl=ttl)
        if not lease.acquire():
            continue
        seen = kv.get("fenced", 0)
        threading.Event().wait(chance.uniform(0, 2 * ttl))  # the work of the holder
        try:
            lease.set("fenced", seen + 1)
            tokens.append(lease.token)
        except StateConflict:
            ttl *= 1.1  # on a machine on which a read and a write take that long, nobody would ever be in time
        finally:
            lease.release()
    return tokens


def hit(shared: Shared, turn: int, me: int) -> int:
    """Hit a rate limit; return how many hits were admitted."""
    counter = shared.states.kv.counter(f"h{turn}", limit=LIMIT, window=3600)
    return sum(counter.hit() for _ in range(HITS))


KV_ACTS: dict[str, Callable[[Shared, int, int], Any]] = {
    act.__name__: act
    for act in (
        count_by_swap,
        count_by_version,
        count_by_increment,
        begin_it,
        swap_from_nothing,
        remove_it,
        make_anew,
        cross,
        cross_by_value,
        transfer,
        take_lease,
        count_under_lease,
        hit,
    )
}
