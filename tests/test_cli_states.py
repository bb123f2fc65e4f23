"""The commands for states beyond reading and writing one: what is allowed, what was, many at once, timers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli_operator import Operator

pytest_plugins = ["tests.cli_operator", "tests.flow_worlds"]


@pytest.fixture
def filled(operator: Operator) -> Operator:
    """An operator of an app with a user and two payments."""
    operator.run("register", "user_1", "user", "--data", '{"plan": "free"}', "--owner", "ann")
    operator.clock.advance(60)
    operator.run("transition", "user_1", "activate", "--data", '{"plan": "pro"}', "--reason", "paid")
    operator.run("register", "pay_1", "payment", "--data", '{"amount": 0}')
    operator.run("register", "pay_2", "payment", "--data", '{"amount": 5}')
    return operator


def test_what_is_allowed_is_explained(filled: Operator) -> None:
    rows = filled.said("allowed", "pay_1")
    assert rows[0].split() == ["TRANSITION", "POSSIBLE", "WHY", "NOT"]
    assert rows[1].split()[:2] == ["pay", "no"]
    assert rows[2].split() == ["lapse", "yes"]
    items = filled.loaded("allowed", "pay_1", "--json")["items"]
    assert [(each["transition"], each["possible"]) for each in items][:2] == [("pay", False), ("lapse", True)]
    assert filled.said("allowed", "pay_1", "lapse") == ["pay_1: lapse is possible."]
    ended = filled.run("allowed", "pay_1", "pay", code=1)
    assert ended.stdout.startswith("pay_1: pay is not possible. ")
    assert filled.loaded("allowed", "pay_1", "pay", "--json", code=1)["rule"] == "guard"
    assert "no state 'nobody'" in filled.refused("allowed", "nobody")


def test_states_are_counted_by_the_store(filled: Operator) -> None:
    assert filled.said("count") == ["3"]
    assert filled.loaded("count", "payment", "--where", "data.amount__gt=1", "--json") == {"count": 1}
    assert filled.said("count", "--owner", "ann") == ["1"]
    rows = filled.said("count", "--by-status")
    assert [row.split() for row in rows[1:]] == [["payment", "pending", "2"], ["user", "active", "1"]]
    items = filled.loaded("count", "payment", "--by-status", "--status", "pending", "--json")["items"]
    assert items == [{"type": "payment", "status": "pending", "count": 2}]


def test_changes_of_all_states_are_told_newest_first(filled: Operator) -> None:
    rows = filled.said("changes")
    assert [row.split()[0] for row in rows] == ["STATE", "pay_2", "pay_1", "user_1", "paid", "user_1"]
    only = filled.said("changes", "--transition", "activate", "--diff")
    assert only[2:] == ["         paid", '         ~ /plan "pro"']
    assert filled.said("changes", "--state", "pay_1", "--transition", "pay") == ["No changes found."]
    [newest] = filled.loaded("changes", "--limit", "1", "--json", "--diff")["items"]
    assert (newest["state_id"], newest["diff"]) == ("pay_2", [{"op": "add", "path": "/amount", "value": 5}])


def test_changes_keep_their_headings_and_their_time_whatever_the_ids_are(filled: Operator) -> None:
    filled.run("register", f"session_{'0123456789' * 3}", "user", "--reason", "signed up " * 12)
    rows = filled.said("changes", "--limit", "2")
    assert rows[0].split() == ["STATE", "VERSION", "WHEN", "(UTC)", "TRANSITION", "STATUS", "ACTOR"]
    assert rows[1].startswith("session_012")
    assert rows[1].split()[2:5] == ["2026-01-01", "12:01:00", "create"]
    assert rows[2].startswith("         signed up signed up")


def test_two_versions_are_compared(filled: Operator) -> None:
    assert filled.said("diff", "user_1", "1", "2") == ['~ /status "active"', '~ /data/plan "pro"']
    assert filled.said("diff", "user_1", "2") == ["Nothing is different."]
    found = filled.loaded("diff", "user_1", "2026-01-01T12:00:30Z", "--json")
    assert {"op": "replace", "path": "/data/plan", "value": "pro"} in found
    assert "nothing is on record" in filled.refused("diff", "user_1", "9")
    assert "no state 'nobody'" in filled.refused("diff", "nobody", "1")


def test_what_was_comes_back(filled: Operator) -> None:
    assert filled.said("restore", "user_1", "1", "--reason", "wrong") == ["user_1: created, version 3"]
    filled.run("delete", "user_1", "--yes")
    assert filled.said("undelete", "user_1") == ["user_1: created, version 5"]
    assert "is not deleted" in filled.refused("undelete", "user_1")
    assert "no state 'nobody'" in filled.refused("undelete", "nobody")
    filled.run("delete", "user_1", "--yes")
    assert filled.said("restore", "user_1", "2026-01-01T12:00:30Z") == ["user_1: created, version 7"]
    assert "is no moment" in filled.refused("restore", "user_1", "soon", code=2)


def test_many_states_are_created_from_lines_and_what_is_refused_is_told(operator: Operator, tmp_path: Path) -> None:
    lines = [
        '{"state_id": "u1", "data": {"plan": "pro"}, "owner": "ann"}',
        "",
        '{"state_id": "u2", "expires_at": "2026-02-01T00:00:00Z"}',
        "no JSON",
        '{"state_id": "u1"}',
        '{"state_id": "u3", "expires_at": "soon"}',
    ]
    file = tmp_path / "users.jsonl"
    file.write_text("\n".join(lines))
    said = operator.said("bulk", "register", "user", str(file), code=1)
    assert (said[0], said[-1]) == ("Created 2 states.", "3 states refused.")
    assert operator.loaded("show", "u2", "--json")["expires_at"].startswith("2026-02-01")
    assert operator.said("bulk", "register", "user", stdin='{"state_id": "u9"}\n') == ["Created 1 state."]


def test_states_named_in_a_file_are_moved_behind_a_question(filled: Operator) -> None:
    ended = filled.run("bulk", "transition", "lapse", code=1, stdin="pay_1\n")
    assert "[y/N]" in ended.stdout  # the end of the file is no yes
    moved = filled.run("bulk", "transition", "lapse", "--yes", "--data", '{"x": 1}', stdin="pay_1\npay_2\n\n")
    assert moved.stdout == "Moved 2 states.\n"
    refused = filled.run("bulk", "transition", "lapse", "--yes", stdin="pay_1\nnobody\n", code=1)
    assert refused.stdout.splitlines()[-1] == "2 states refused."


def test_a_timer_is_set_shown_moved_and_keeps_its_terms(filled: Operator) -> None:
    made = filled.said(
        *("timers", "schedule", "pay_1", "lapse", "--after", "60", "--key", "end", "--only-in", "pending"),
        *("--data", '{"late": true}', "--reason", "unpaid"),
    )
    [timer] = filled.loaded("timers", "list", "--json")["items"]
    assert made == [f"{timer['id']}: lapse of pay_1, due 2026-01-01 12:02:00 UTC, key end"]
    assert (timer["only_in"], timer["data"]) == (["pending"], {"late": True})
    moved = filled.said("timers", "reschedule", str(timer["id"]), "--at", "2026-01-02T00:00:00Z")
    [other] = filled.loaded("timers", "list", "--json")["items"]
    assert moved == [f"{other['id']}: lapse of pay_1, due 2026-01-02 00:00:00 UTC, key end"]
    same = ("only_in", "data", "key", "reason", "transition")
    assert [other[name] for name in same] == [timer[name] for name in same]
    shown = filled.said("timers", "show", str(other["id"]))
    assert 'data         {"late": true}' in shown
    assert filled.loaded("timers", "show", str(other["id"]), "--json") == other
    assert "either --at or --after" in filled.refused("timers", "schedule", "pay_1", "lapse", code=2)
    filled.run("timers", "cancel", "pay_1", "--yes")
    assert "only a pending one" in filled.refused("timers", "reschedule", str(other["id"]), "--after", "1")
    assert "there is none" in filled.refused("timers", "show", "99999")


def test_wide_cuts_nothing(filled: Operator) -> None:
    long = "x" * 120
    filled.run("register", long, "user", "--owner", long, "--reason", long)
    assert "…" in "\n".join(filled.said("list"))
    for words in (("list",), ("history", long), ("changes",)):
        assert "…" not in filled.run(*words, "--wide").stdout
    assert json.loads(filled.run("list", "--json", "--wide").stdout)["items"]
