"""Conversations: one turn (load, update, commit) beside one GET, one EVALSHA and the JSON between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

from benchmarks.extension import Extension
from benchmarks.floor import floor_in, with_tables
from benchmarks.ground import Ground, Store
from benchmarks.kv import RedisFloor
from benchmarks.rounds import Contestant
from benchmarks.rounds import timed as timed_alone
from benchmarks.work import DRIVER, EXTENSION, FLOW_TURN, FLOW_TURN_LINKED, SEEN


class Talk:
    """An application with conversations in a store.

    :param store: where.
    :param stack: closes it.
    """

    def __init__(self, store: Store, stack: ExitStack) -> None:
        config: dict[str, Any] = {}
        if store.short == "redis":
            config = {
                "flows_backend": "redis",
                "redis_url": store.fresh(),
                "redis_prefix": f"bench-{uuid4().hex}:",
            }
        self.extension = Extension(store, stack, url="sqlite://" if store.short == "redis" else "", **config)
        self.flows = self.extension.manager.flows
        with self.extension.app.app_context():
            for number in range(SEEN):
                self.turn(number)
                self.flows.open("whatsapp", f"+{number}").authenticate(f"m{number}", "token")

    def turn(self, number: int) -> None:
        """Make a turn on a channel that belongs to nobody.

        :param number: says which.
        """
        self._turn("web", f"visitor-{number % SEEN}", number)

    def linked(self, number: int) -> None:
        """Make a turn on a channel of a member.

        :param number: says which.
        """
        self._turn("whatsapp", f"+{number % SEEN}", number)

    def _turn(self, channel_type: str, channel_id: str, number: int) -> None:
        with self.flows.open(channel_type, channel_id) as session:
            data = {"amount": number, "currency": "USD"}
            session.update_state({"flow_data": {"path": "offer", "component": "amount", "data": data}})


def contestants(_ground: Ground, store: Store, stack: ExitStack) -> Iterator[Contestant]:
    """Yield turns, beside the bare driver.

    :param _ground: the servers.
    :param store: where.
    :param stack: closes what is opened.
    """
    bare: Any
    if store.short == "redis":
        bare = RedisFloor(store.fresh(), stack)
    else:
        bare = floor_in(store, with_tables(store), stack)
        bare.seen()
    ours = Talk(store, stack)
    yield Contestant(store.name, FLOW_TURN, DRIVER, timed_alone(bare.update))
    yield Contestant(store.name, FLOW_TURN, EXTENSION, ours.extension.timed(ours.turn))
    yield Contestant(store.name, FLOW_TURN_LINKED, EXTENSION, ours.extension.timed(ours.linked))
