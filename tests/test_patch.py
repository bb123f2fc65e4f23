"""JSON Merge Patch as RFC 7396 prints it, and JSON Patches that lead from one value to the other."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_statemanager.core.codec import copied, same
from flask_statemanager.core.patch import diff, merge

APPENDIX_A = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), APPENDIX_A)
def test_a_merge_gives_what_rfc_7396_appendix_a_prints(target: Any, patch: Any, result: Any) -> None:
    assert same(merge(target, patch), result)


@pytest.mark.parametrize(("target", "patch"), [(target, patch) for target, patch, _ in APPENDIX_A])
def test_a_merge_edits_neither_target_nor_patch(target: Any, patch: Any) -> None:
    before = copy.deepcopy((target, patch))
    merge(target, patch)
    assert (target, patch) == before


class PatchFailed(Exception):
    pass


def applied(operations: list[dict[str, Any]], document: Any) -> Any:
    """Apply a JSON Patch (RFC 6902) of adds, removes and replaces, as strictly as the standard."""
    box = {"": copied(document)}
    for operation in operations:
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in operation["path"].split("/")]
        parent: Any = box
        for token in tokens[:-1]:
            parent = parent[int(token)] if isinstance(parent, list) else parent[token]
        change(parent, tokens[-1], operation)
    return box[""]


def change(parent: Any, token: str, operation: dict[str, Any]) -> None:
    name = operation["op"]
    if isinstance(parent, list):
        if name == "add" and token == "-":
            parent.append(copied(operation["value"]))
            return
        index = int(token)
        if not 0 <= index < len(parent):
            raise PatchFailed(operation)
        if name == "remove":
            del parent[index]
        else:
            parent[index] = copied(operation["value"])
        return
    if (name == "add") == (token in parent):
        raise PatchFailed(operation)
    if name == "remove":
        del parent[token]
    else:
        parent[token] = copied(operation["value"])


@pytest.mark.parametrize(
    ("old", "new", "operations"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, [{"op": "replace", "path": "/a", "value": True}]),
        ({"a": 1}, {"a": None}, [{"op": "replace", "path": "/a", "value": None}]),
        ({"a": 1}, {}, [{"op": "remove", "path": "/a"}]),
        ({}, {"a": None}, [{"op": "add", "path": "/a", "value": None}]),
        ({"a/b": 1, "c~d": 1}, {"c~d": 2}, [
            {"op": "remove", "path": "/a~1b"},
            {"op": "replace", "path": "/c~0d", "value": 2},
        ]),
        ({"": 1}, {"": 2}, [{"op": "replace", "path": "/", "value": 2}]),
        ({"a": [1, 2, 3]}, {"a": [1]}, [{"op": "remove", "path": "/a/2"}, {"op": "remove", "path": "/a/1"}]),
        ({"a": [1]}, {"a": [2, 3]}, [
            {"op": "replace", "path": "/a/0", "value": 2},
            {"op": "add", "path": "/a/-", "value": 3},
        ]),
        ({"a": []}, {"a": {}}, [{"op": "replace", "path": "/a", "value": {}}]),
        (1, [], [{"op": "replace", "path": "", "value": []}]),
    ],
)  # fmt: skip
def test_a_difference_is_described_as_rfc_6902_says(old: Any, new: Any, operations: list[Any]) -> None:
    assert diff(old, new) == operations
    assert same(applied(operations, old), new)


names = st.sampled_from(["", "a", "b", "0", "-", "/", "~", "~1", "~01", "a/b"])
values = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.5, "", "a"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(values, values)
def test_a_difference_applied_to_the_old_gives_the_new(old: Any, new: Any) -> None:
    assert same(applied(diff(old, new), old), new)


@settings(max_examples=100, deadline=None)
@given(values)
def test_a_value_differs_in_nothing_from_itself(value: Any) -> None:
    assert diff(value, copied(value)) == []


@settings(max_examples=100, deadline=None)
@given(values, values)
def test_a_merge_twice_is_a_merge_once(target: Any, patch: Any) -> None:
    once = merge(target, patch)
    assert same(merge(once, patch), once)
