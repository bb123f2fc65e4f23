"""The admin pages of types: the machine drawn, the numbers in it, and all that is declared beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema, fields, validate

from flask_statemanager import Deadline, Guard, Machine, Transition
from flask_statemanager.admin import figures
from flask_statemanager.admin.drawing import CURVE, LETTER, SMALL, Drawing, draw
from flask_statemanager.lifecycle.machine import default_machine
from tests.admin_client import ADMIN, Operator, text_of, with_logins
from tests.worlds import World, build, entered, uri_for


class Address(Schema):
    street = fields.String(required=True)


class PaymentData(Schema):
    amount = fields.Integer(required=True, validate=validate.Range(min=1))
    note = fields.String(allow_none=True)
    tags = fields.List(fields.String())
    billing = fields.Nested(Address)
    others = fields.List(fields.Nested(Address), data_key="otherAddresses")


def is_funded(present: Any, planned: Any) -> bool:
    """The account has to be funded."""
    return bool(present.data["amount"])


def payment() -> Machine:
    return Machine(
        initial="pending",
        transitions=[
            Transition("complete", ["pending"], "completed", guards=is_funded),
            Transition("fail", ["pending"], "failed"),
            Transition("reopen", ["failed", "completed"], "pending"),
            Transition("touch", ["completed"], "completed"),
            Transition("close", "*", "closed", guards=Guard.where({"data.amount__gte": 1}, name="large enough")),
        ],
        final=["closed"],
        deadlines=Deadline("pending", 900, "fail", policy="remaining"),
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An application with admin pages and a type of its own, on each database."""
    world = with_logins(build(request.param, uri_for(request.param, tmp_path, request), **ADMIN))
    for ready in entered(world):
        declare(ready)
        yield ready


@pytest.fixture
def memory() -> Iterator[World]:
    """The same in memory, for what is the same on every store."""
    for ready in entered(with_logins(build("memory", "sqlite://", **ADMIN))):
        declare(ready)
        yield ready


def declare(world: World) -> None:
    states = world.states
    states.define("payment", payment())
    states.register_schema("payment", PaymentData)
    states.register_validator("payment", has_an_owner)
    states.register_callback("payment_completed", told, durable=True, name="receipt")
    states.register_callback("*", told)
    states.register_callback("user", told, when="before")
    for number in range(3):
        states.register_state(f"p{number}", "payment", {"amount": number + 1})
    states.update_state("p0", transition="fail")


def has_an_owner(state: dict[str, Any]) -> bool:
    return True


def told(state_id: str, old: dict[str, Any], new: dict[str, Any], event: str) -> None:
    """Hear of a change."""


# -- the pages ---------------------------------------------------------------------------------------------------------


def test_types_are_listed_with_the_numbers_of_their_states(shop: World) -> None:
    words = text_of(Operator(shop).get("/types"))
    assert re.search(r"payment 3 pending 2 failed 1 ", words), words
    assert "PaymentData" in words
    assert all(name in words for name in ("user", "subscription"))


def test_a_machine_is_drawn_with_the_numbers_on_its_statuses(shop: World) -> None:
    answer = Operator(shop).get("/types/payment")
    assert answer.status_code == 200
    (svg,) = re.findall(r"<svg.*?</svg>", answer.text, re.S)
    for status, number in (("pending", 2), ("completed", 0), ("failed", 1), ("closed", 0)):
        box = re.search(rf'class="name"[^>]*>{status}</text>\s*<text class="many"[^>]*>([^<]*)<', svg)
        assert box is not None
        assert box[1].strip() == str(number)
    assert "fail, after 15 min" in svg
    assert "complete [guarded]" in svg
    assert "<title>The machine of payment</title>" in svg


def test_the_picture_is_told_in_tables_too(memory: World) -> None:
    words = text_of(Operator(memory).get("/types/payment"))
    assert "complete pending completed is_funded The account has to be funded." in words
    assert "reopen failed completed pending" in words
    assert re.search("fail pending failed . 15 min, counted while in this status", words)
    assert "touch completed stays" in words
    assert "large enough" in words


def test_what_is_declared_beside_the_machine_is_named(memory: World) -> None:
    words = text_of(Operator(memory).get("/types/payment"))
    assert "Validators has_an_owner" in words
    assert "amount Integer yes no at least 1" in words
    assert "note String no allowed" in words
    assert "tags list of String no" in words
    assert "billing.street String yes" in words
    assert "otherAddresses[].street String yes" in words
    assert "payment_completed by a worker, at least once tests.test_admin_types.told receipt" in words
    assert "* after the commit" in words
    assert "before the commit" not in words
    assert "stateDiagram-v2" in words


def test_a_type_that_declares_nothing_says_so(memory: World) -> None:
    memory.states.define("plain", Machine(initial="one", transitions=[]))
    words = text_of(Operator(memory).get("/types/plain"))
    assert "none: any data" in words
    assert "Validators none" in words


def test_a_schema_that_holds_itself_has_an_end(memory: World) -> None:
    class Node(Schema):
        child = fields.Nested(lambda: Node())  # noqa: PLW0108 - it is not there yet
        odd = fields.String(validate=has_an_owner)

    memory.states.define("tree")
    memory.states.register_schema("tree", Node)
    answer = Operator(memory).get("/types/tree")
    assert answer.text.count("child.child.child.child.child.child<") == 1
    assert "has_an_owner" in answer.text


def test_a_type_that_is_not_there_is_not_found(memory: World) -> None:
    answer = Operator(memory).get("/types/no%3Cb%3E")
    assert answer.status_code == 404
    assert "There is no type" in answer.text
    assert "<b>" not in answer.text


def test_nobody_sees_types_without_the_permission(memory: World) -> None:
    for path in ("/types", "/types/payment"):
        assert Operator(memory, "ben", ("clerk",)).get(path).status_code == 403


def test_a_great_number_is_about(memory: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "EXACT_TO", 1)
    words = text_of(Operator(memory).get("/types/payment"))
    assert "pending begins ≈ 2" in words


# -- the drawing -------------------------------------------------------------------------------------------------------


def crowded() -> Machine:
    """A machine in which everything leads everywhere."""
    names = [f"a_status_with_a_name_{number}" for number in range(7)]
    pairs = [(one, other) for one in names for other in names]
    ways = [Transition(f"go_{names.index(one)}_{names.index(other)}", one, other) for one, other in pairs]
    return Machine(initial=names[:2], transitions=ways)


MACHINES = {"default": default_machine(), "payment": payment(), "crowded": crowded()}


@pytest.mark.parametrize("name", MACHINES)
def test_no_way_crosses_a_box_or_a_name(name: str) -> None:
    drawing = draw(MACHINES[name])
    right = drawing.left + drawing.box
    for one, other in combinations(drawing.boxes, 2):
        assert one.y + one.height < other.y
    for way in drawing.ways:
        numbers = [float(each) for each in re.findall(r"-?\d+", way.path)]
        if way.path:
            assert min(numbers[0], numbers[2] + CURVE) >= right
            labels = drawing.beside + max(len(each.label) for each in drawing.ways) * SMALL
            lane = int(re.search(r"H (\d+)", way.path)[1]) + CURVE  # type: ignore[index]
            assert labels < lane < drawing.width
            assert int(way.path.split()[2]) - 5 == way.y
    assert all(len(box.label) * LETTER <= drawing.box for box in drawing.boxes)


@pytest.mark.parametrize("name", MACHINES)
def test_two_ways_share_a_lane_only_where_they_lead_to_the_same_status(name: str) -> None:
    seen: dict[tuple[str, int], tuple[int, int]] = {}
    for way in draw(MACHINES[name]).ways:
        if way.path:
            lane = int(re.search(r"H (\d+)", way.path)[1])  # type: ignore[index]
            target, y, into = way.told.partition(" to ")[2], int(way.path.split()[2]), int(way.path.split()[-3])
            low, high = seen.get((target.removesuffix(", guarded"), lane), (y, y))
            seen[target.removesuffix(", guarded"), lane] = min(low, y, into), max(high, y, into)
    for ((_one, lane), (low, high)), ((_other, same), (begin, end)) in combinations(seen.items(), 2):
        assert lane != same or high < begin or end < low


def test_every_transition_of_the_machine_is_drawn_once() -> None:
    machine = payment()
    drawn = draw(machine)
    assert sorted(way.told for way in drawn.ways) == sorted(
        f"{name}: from {source} to {target}" + (", guarded" if machine.edge(source, name).conditions else "")  # type: ignore[union-attr]
        for source, name, target in machine.edges()
        if name not in ("update", "delete")
    )
    assert [box.name for box in drawn.boxes if box.initial] == ["pending"]
    assert [box.name for box in drawn.boxes if box.final] == ["closed"]
    (stays,) = [way for way in drawn.ways if not way.path]
    assert stays.label.startswith("touch")


def test_deletion_is_drawn_where_that_is_asked_for() -> None:
    boxes = draw(payment(), deletion=True).boxes
    assert (boxes[-1].name, boxes[-1].final) == ("deleted", True)


def test_a_machine_without_ways_is_its_boxes() -> None:
    drawing: Drawing = draw(Machine(initial=["one", "two"], transitions=[]))
    assert ([box.label for box in drawing.boxes], drawing.ways) == (["one", "two"], [])


def test_long_names_are_cut_and_told_in_full() -> None:
    name, status = "a_transition_with_a_very_long_name_indeed", "a_status_with_a_very_long_name"
    drawing = draw(Machine(initial=status, transitions=[Transition(name, status, "end")]))
    assert drawing.boxes[0].label.endswith("…")
    assert drawing.ways[0].label.endswith("…")
    assert name.replace("_", " ") in drawing.ways[0].told
