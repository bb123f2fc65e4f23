"""Machines: names, past tenses, diagrams."""

from __future__ import annotations

import pytest

from flask_statemanager import Guard, Machine, Transition
from flask_statemanager.lifecycle.diagram import dot, mermaid
from flask_statemanager.lifecycle.machine import default_machine, regular_past

PARCEL = Machine(
    initial="packed",
    transitions=[
        Transition("ship", ["packed"], "on-the-way", past="shipped", guards=[lambda old, new: True]),
        Transition("deliver", "on-the-way", "delivered"),
        Transition("lose", "*", "lost", past="lost"),
    ],
    final=["delivered"],
)


@pytest.mark.parametrize(
    ("verb", "past"),
    [
        ("activate", "activated"),
        ("suspend", "suspended"),
        ("apply", "applied"),
        ("play", "played"),
        ("go", "goed"),
        ("y", "yed"),
    ],
)
def test_the_past_of_a_regular_verb(verb: str, past: str) -> None:
    assert regular_past(verb) == past


def test_every_transition_has_its_past_and_the_built_in_ones_too() -> None:
    assert PARCEL.pasts == {
        "ship": "shipped",
        "deliver": "delivered",
        "lose": "lost",
        "update": "updated",
        "delete": "deleted",
        "create": "created",
        "rollback": "rolled_back",
    }


def test_any_source_means_every_status_that_is_not_final() -> None:
    assert PARCEL.statuses == ("packed", "on-the-way", "delivered", "lost")
    assert PARCEL.allowed("packed") == ("ship", "lose", "update", "delete")
    assert PARCEL.allowed("delivered") == ("update", "delete")
    assert PARCEL.allowed("unheard of") == ("update", "delete")
    assert PARCEL.target("packed", "update") == "packed"
    assert PARCEL.target("packed", "deliver") is None


def test_a_machine_is_drawn_in_mermaid() -> None:
    assert mermaid(PARCEL) == (
        "stateDiagram-v2\n"
        '    state "on-the-way" as on_the_way\n'
        "    [*] --> packed\n"
        "    packed --> on_the_way : ship [guarded]\n"
        "    on_the_way --> delivered : deliver\n"
        "    packed --> lost : lose\n"
        "    on_the_way --> lost : lose\n"
        "    lost --> lost : lose\n"
        "    delivered --> [*]\n"
    )
    assert "packed --> deleted : delete" in mermaid(PARCEL, deletion=True)


def test_a_machine_is_drawn_in_dot() -> None:
    text = dot(default_machine(), "user")
    assert text.startswith('digraph "user" {')
    assert '"suspended" -> "active" [label="resume"];' in text
    assert "delete" not in text
    assert '"delivered" [peripheries=2];' in dot(PARCEL, "parcel", deletion=True)


def test_a_guard_is_named_after_its_function_unless_named() -> None:
    def check(old: object, new: object) -> bool:
        return True

    assert (Guard(check).title, Guard(check).sentence) == ("check", "its condition does not hold")
    assert (Guard(check, "limit", "Too much.").title, Guard(check, "limit", "Too much.").sentence) == (
        "limit",
        "Too much.",
    )
