"""Many at once: no update is lost, whichever store conversations live in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.worlds import World

pytest_plugins = ["tests.flow_worlds"]

MANY = 50


def at_once(world: World, work: Callable[[int], object]) -> None:
    """Call a function many times at once, each in an application context of its own."""
    barrier = threading.Barrier(MANY)

    def run(number: int) -> None:
        with world.app.app_context():
            barrier.wait(timeout=60)
            work(number)
            world.db.session.remove()

    with ThreadPoolExecutor(MANY) as pool:
        for done in [pool.submit(run, number) for number in range(MANY)]:
            done.result(timeout=120)


def test_fifty_updates_of_fields_at_once_keep_fifty(flow_world):
    flows = flow_world.states.flows
    at_once(flow_world, lambda n: flows.open("web", "ada").update_state({"flow_data": {"data": {f"f{n}": n}}}))
    found = flows.open("web", "ada")
    assert found.get_flow_data() == {f"f{n}": n for n in range(MANY)}
    assert found.version == MANY


def test_fifty_updates_by_two_channels_of_one_member_keep_fifty(flow_world):
    flows = flow_world.states.flows
    channels = (("web", "ada"), ("whatsapp", "+1"))
    for channel in channels:
        flows.open(*channel).link_member("m1")
    at_once(flow_world, lambda n: flows.open(*channels[n % 2]).update_state({"profile": {f"f{n}": n}}))
    assert flows.open("web", "ada").get("profile") == {f"f{n}": n for n in range(MANY)}


def test_fifty_atomic_updates_of_one_value_keep_fifty(flow_world):
    flows = flow_world.states.flows
    outcomes = []

    def update(number: int) -> None:
        atomic = flows.open("web", f"v{number}").atomic_state
        outcomes.append(atomic.execute_atomic("ledger", "update", {f"f{number}": number}))

    at_once(flow_world, update)
    assert [(done, error) for done, _, error in outcomes] == [(True, None)] * MANY
    assert flows.open("web", "ada").atomic_state.atomic_get("ledger") == {f"f{n}": n for n in range(MANY)}


def test_many_logins_at_once_make_one_conversation(flow_world):
    flows = flow_world.states.flows

    def login(number: int) -> None:
        with flows.open("web", f"v{number}") as session:
            session.update_state({"profile": {f"f{number}": number}})
            session.authenticate("m1", f"token-{number}")

    at_once(flow_world, login)
    found = flows.open("web", "v7")
    assert found.get("profile") == {f"f{n}": n for n in range(MANY)}
    assert flows.open("web", "v0").get("auth") == found.get("auth")
