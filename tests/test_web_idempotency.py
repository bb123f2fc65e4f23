"""``Idempotency-Key`` for keys and values: what is sent twice is done once, on every store that can remember."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from flask_statemanager.core.idempotency import Request
from tests.rest_client import Ask, asking, data_of, problem_of
from tests.worlds import World, build, entered, kept_by, uri_for

PATIENCE = 60
"""Seconds in which whatever is waited for has to happen."""


def made(kind: str, folder: Path, request: pytest.FixtureRequest, **config: Any) -> Iterator[World]:
    yield from entered(build(kind, uri_for(kind, folder, request), STATEMANAGER_API_ENABLED=True, **config))


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def remembering(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application on each store that can remember requests."""
    yield from made(request.param, tmp_path, request)


@pytest.fixture
def impatient(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application on PostgreSQL that waits for no other request for long."""
    yield from made("postgresql", tmp_path, request, STATEMANAGER_IDEMPOTENCY_WAIT=0.2)


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    yield from made("memory", tmp_path, request)


CALLS: dict[str, tuple[str, str, Any]] = {
    "create": ("PUT", "/new", {"value": 1}),
    "set": ("PUT", "/old", {"value": [1, {"a": None}], "metadata": {"m": 1}, "ttl": 60}),
    "remove": ("DELETE", "/old", None),
    "swap": ("POST", "/cas", {"key": "old", "expected": 0, "new_value": 1}),
    "several": ("POST", "/bulk", {"operations": [{"op": "set", "key": "old", "value": 1, "expect": 1}]}),
}


def sent(ask: Ask, call: str, key: str = "k", **headers: str) -> TestResponse:
    method, path, body = CALLS[call]
    more = {} if body is None else {"json": body}
    return ask(method, path, headers={"Idempotency-Key": key, **headers}, **more)


def footprint(world: World) -> Any:
    kv = world.states.kv
    return {key: kv.get_entry(key) for key in kv.keys()}  # noqa: SIM118 - a verb, not a dict


@pytest.mark.parametrize("call", CALLS)
def test_what_is_sent_twice_is_done_once_and_answered_alike(remembering: World, call: str) -> None:
    ask = asking(remembering)
    remembering.states.kv.set("old", 0)
    first = sent(ask, call)
    assert first.status_code < 300, first.text
    after = footprint(remembering)
    remembering.clock.advance(1)
    for form in ("k", '"k"', " k "):
        again = sent(ask, call, form)
        assert (again.status_code, again.data) == (first.status_code, first.data)
        assert again.headers.get("ETag") == first.headers.get("ETag")
    assert footprint(remembering) == after
    remembering.states.kv.set("old", "moved on")
    assert sent(ask, call).data == first.data


@pytest.mark.parametrize("call", CALLS)
def test_the_same_key_with_another_request_is_422(world: World, call: str) -> None:
    ask = asking(world)
    world.states.kv.set("old", 0)
    assert sent(ask, call).status_code < 300
    method, path, body = CALLS[call]
    after = footprint(world)
    other = None if body is None else {**body, "reason": "another"}
    more = {"query_string": {"reason": "another"}} if other is None else {"json": other}
    refused = problem_of(ask(method, path, headers={"Idempotency-Key": "k"}, **more), 422)
    assert refused["type"].endswith(":idempotency-key-reused")
    if method != "POST":
        refused = problem_of(sent(ask, call, "k", **{"If-Match": '"7"'}), 422)
        assert refused["type"].endswith(":idempotency-key-reused")
    assert footprint(world) == after


def test_another_path_or_another_caller_is_another_request(world: World) -> None:
    users = iter([("ada", ["admin"]), ("ben", ["admin"])])
    world.states._declarations.identity.loader = lambda: next(users)
    ask = asking(world)
    assert [sent(ask, "create").status_code for _ in range(2)] == [201, 200]
    world.states._declarations.identity.loader = lambda: ("ada", ["admin"])
    problem_of(ask("PUT", "/elsewhere", json={"value": 1}, headers={"Idempotency-Key": "k"}), 422)


def test_a_refusal_is_not_remembered(remembering: World) -> None:
    ask = asking(remembering)
    problem_of(sent(ask, "remove"), 404)
    problem_of(sent(ask, "swap"), 409)
    remembering.states.kv.set("old", 0)
    assert data_of(sent(ask, "swap"))["swapped"] is True
    assert data_of(sent(ask, "remove"))["removed"] is True


def test_an_answer_is_remembered_for_its_time(remembering: World) -> None:
    ask = asking(remembering)
    assert sent(ask, "create").status_code == 201
    remembering.clock.advance(72 * 3600 + 1)
    assert sent(ask, "create").status_code == 200


def test_redis_cannot_remember_and_says_so(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> None:
    for world in made("sqlite", tmp_path, request, **kept_by(redis_url)):
        ask = asking(world)
        for call in CALLS:
            refused = problem_of(sent(ask, call), 400)
            assert refused["type"].endswith(":idempotency-key-not-supported")
        assert world.states.kv.count() == 0


def test_what_cannot_be_repeated_by_a_key_says_so(world: World) -> None:
    ask = asking(world)
    refused = problem_of(ask("POST", "/snapshot", headers={"Idempotency-Key": "k"}), 400)
    assert refused["type"].endswith(":idempotency-key-not-supported")
    assert ask("GET", "/stats", headers={"Idempotency-Key": "k"}).status_code == 200


@pytest.mark.parametrize("key", ["", '""', "  ", "\u00e4", "a\tb"])
def test_a_key_that_is_no_text_is_400(world: World, key: str) -> None:
    problem_of(sent(asking(world), "create", key), 400)


def test_a_key_of_more_than_255_characters_is_refused(world: World) -> None:
    assert sent(asking(world), "create", "k" * 256).status_code in (400, 413, 422)
    assert sent(asking(world), "create", "k" * 255).status_code == 201


# -- at the same time --------------------------------------------------------------------------------------------------


class Gate:
    """Keeps a write waiting in its transaction."""

    def __init__(self, world: World) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        world.runtime.shelves.parts("kv").bucket.checks.append(self._pass)

    def _pass(self, _change: Any) -> None:
        self.reached.set()
        assert self.open.wait(PATIENCE)


def test_a_duplicate_waits_for_the_first_and_gets_its_answer(remembering: World) -> None:
    ask, gate = asking(remembering), Gate(remembering)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(sent, ask, "create")
        assert gate.reached.wait(PATIENCE)
        others = [pool.submit(sent, asking(remembering), "create") for _ in range(2)]
        gate.open.set()
        answers = [each.result(PATIENCE) for each in (first, *others)]
    assert {(answer.status_code, answer.data) for answer in answers} == {(201, answers[0].data)}
    assert remembering.states.kv.get_entry("new").version == 1


def test_a_duplicate_that_has_waited_in_vain_is_409(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    for world in made("memory", tmp_path, request, STATEMANAGER_IDEMPOTENCY_WAIT=0.1):
        gate = Gate(world)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(sent, asking(world), "create")
            assert gate.reached.wait(PATIENCE)
            late = sent(asking(world), "create")
            assert problem_of(late, 409)["type"].endswith(":request-in-progress")
            assert int(late.headers["Retry-After"]) >= 1
            gate.open.set()
            assert first.result(PATIENCE).status_code == 201
        assert sent(asking(world), "create").data == first.result().data


def test_a_duplicate_of_another_process_is_waited_for_no_longer_either(impatient: World) -> None:
    ask, backend = asking(impatient), impatient.runtime.backend
    elsewhere = Request("local", "rest.set_key", "k", "f" * 64, timedelta(hours=1))
    with ThreadPoolExecutor(1) as pool, backend.writing() as unit:
        assert backend.recall(unit, elsewhere, impatient.clock.now()) is None
        late = pool.submit(sent, ask, "create").result(PATIENCE)
        assert problem_of(late, 409)["type"].endswith(":request-in-progress")
    assert sent(ask, "create").status_code == 201
