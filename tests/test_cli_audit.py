"""The commands that tell who did what, and what was refused to whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_statemanager import StateManager
from flask_statemanager.cli import audit
from flask_statemanager.tracking.refusals import FORBIDDEN, RATE
from tests.cli_operator import Operator, application, hired
from tests.worlds import kept_by

pytest_plugins = ["tests.cli_operator"]

PATIENCE = 60.0


@pytest.fixture
def watchful(terminal: None) -> Iterator[Operator]:
    """An operator of an app that keeps what it refuses."""
    made = hired(application(STATEMANAGER_KEEP_REFUSALS=True))
    yield made
    made.runtime.close()
    StateManager.reset_instance()


def lived(operator: Operator) -> None:
    states = operator.states
    with operator.app.app_context():
        states.register_state("u1", "user", {"data": {"password": "hunter2"}}, actor="bob", reason="signed up")
        operator.clock.advance(3600)
        states.update_state("u1", transition="activate", actor="eve", source="mail")
        states.kv.set("k1", "s3cret", actor="bob")
        states.kv.remove("k1", actor="bob")


@pytest.mark.parametrize("where", ["operator", "keeper"])
def test_who_did_what_is_found_by_any_of_it(request: pytest.FixtureRequest, where: str) -> None:
    operator: Operator = request.getfixturevalue(where)
    assert operator.said("audit") == ["No changes found."]
    lived(operator)
    rows = operator.said("audit")
    assert rows[0].split() == ["WHEN", "(UTC)", "ID", "OR", "KEY", "EVENT", "STATUS", "ACTOR", "SOURCE"]
    assert rows[1].split() == ["2026-01-01", "13:00:00", "u1", "activate", "active", "eve", "mail"]
    assert rows[3] == "    signed up"
    assert "hunter2" not in operator.run("audit", "--json").stdout
    for words in (
        ("--actor", "eve"),
        ("--event", "activate"),
        ("--source", "mail"),
        ("--status", "active"),
        ("--since", "2026-01-01T12:30:00Z"),
    ):
        assert [each["actor"] for each in operator.loaded("audit", "--json", *words)["items"]] == ["eve"], words
    for words in (("--reason", "SIGNED"), ("--until", "2026-01-01T12:30:00Z"), ("--id", "u1", "--actor", "bob")):
        assert [each["event"] for each in operator.loaded("audit", "--json", *words)["items"]] == ["create"], words
    assert operator.said("audit", "--request", "none") == ["No changes found."]
    assert operator.said("audit", "--type", "payment") == ["No changes found."]


def test_all_buckets_of_the_store_are_searched(operator: Operator) -> None:
    lived(operator)
    rows = operator.said("audit", "--all", "--actor", "bob")
    assert [row.split()[2:4] for row in rows[1:4]] == [["kv", "k1"], ["kv", "k1"], ["state", "u1"]]
    assert rows[1].split()[4:] == ["remove", "removed", "bob"]
    assert rows[2].split()[4:] == ["create", "bob"]
    assert operator.loaded("audit", "--bucket", "kv", "--json")["items"][0]["id"] == "k1"


def test_a_search_looks_as_far_as_it_needs_and_goes_on(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "LOOK_AT", 2)
    with operator.app.app_context():
        for number in range(7):
            operator.states.register_state(f"u{number}", "user", actor="bob" if number else "rare")
    assert [each["id"] for each in operator.loaded("audit", "--actor", "rare", "--json")["items"]] == ["u0"]
    first = operator.loaded("audit", "--limit", "5", "--json")
    second = operator.loaded("audit", "--limit", "5", "--json", "--after", str(first["next"]))
    assert [each["id"] for each in first["items"] + second["items"]] == [f"u{number}" for number in range(7)][::-1]
    assert second["next"] is None
    assert operator.said("audit", "--limit", "5")[-1] == f"There are more; go on with --after {first['next']}"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--all", "--id", "u1"), 2, "--id needs the bucket"),
        (("--since", "yesterday"), 2, "is no moment with a time zone"),
        (("--bucket", "nowhere"), 1, "There is no bucket 'nowhere'"),
        (("--actor", "a\udcffb"), 1, "actor: The text holds a lone surrogate"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(
    operator: Operator, words: tuple[str, ...], code: int, sentence: str
) -> None:
    assert sentence in operator.refused("audit", *words, code=code)


def test_a_log_that_cannot_be_searched_is_said_to_be_one(terminal: None, redis_url: str, tmp_path: Path) -> None:
    made = hired(application(STATEMANAGER_BACKEND="memory", **kept_by(redis_url)))
    try:
        assert "kv lies in redis, whose log cannot be searched" in made.refused("audit", "--bucket", "kv")
    finally:
        made.runtime.close()
        StateManager.reset_instance()


def test_hostile_text_of_a_change_cannot_steer_the_terminal(operator: Operator) -> None:
    with operator.app.app_context():
        operator.states.register_state("u1", "user", actor="\x1b[31mred", reason="\x1b]0;x\x07 " * 30)
    lines = operator.said("audit")
    assert "\\x1b[31mred" in lines[1]
    assert lines[2].startswith("    \\x1b]0;x\\x07")


# -- what was refused --------------------------------------------------------------------------------------------------


def test_refusals_are_listed_with_why_and_filtered(watchful: Operator) -> None:
    assert watchful.said("refusals") == ["No refusals found."]
    watchful.run("register", "u1", "user")
    watchful.refused("transition", "u1", "resume")
    watchful.clock.advance(1)
    watchful.runtime.refusals.note(FORBIDDEN, "api", "states", who="ben", address="192.0.2.7")
    assert watchful.runtime.refusals.flush(PATIENCE)
    rows = watchful.said("refusals")
    assert rows[0].split() == ["LAST", "(UTC)", "TIMES", "KIND", "WHAT", "WHO", "STATE", "ADDRESS"]
    assert rows[1].split()[2:] == ["1", "forbidden", "states", "ben", "192.0.2.7"]
    assert rows[2].split()[2:] == ["1", "status", "resume", "operator", "u1"]
    assert rows[3].startswith("    The status 'created' does not allow the transition 'resume'")
    for words in (("--kind", "status"), ("--who", "u1"), ("--who", "operator")):
        [found] = watchful.loaded("refusals", "--json", *words)["items"]
        assert (found["what"], found["first"]) == ("resume", "2026-01-01T12:00:00.000000Z"), words
    newest = watchful.loaded("refusals", "--json", "--limit", "1", "--kind", "status", "--kind", FORBIDDEN)["items"]
    assert [each["who"] for each in newest] == ["ben"]
    assert watchful.said("refusals", "--kind", RATE) == ["No refusals found."]


def test_where_refusals_are_not_kept_it_says_what_to_set(operator: Operator) -> None:
    assert operator.refused("refusals") == "Refusals are not kept: set STATEMANAGER_KEEP_REFUSALS = True."


# -- the tests themselves ----------------------------------------------------------------------------------------------


def test_the_fixtures_of_each_test_module_can_be_had_in_whichever_order() -> None:
    here = Path(__file__).parent
    known = (here / "conftest.py").read_text(encoding="utf-8")
    for path in sorted(here.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytest_plugins":
                for name in ast.literal_eval(node.value):
                    assert f'"{name}"' in known, f"{path.name} takes {name}: have conftest.py rewrite its asserts"
