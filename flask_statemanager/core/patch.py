"""Two standard patches: JSON Merge Patch (RFC 7396) to apply, JSON Patch (RFC 6902) to show a difference."""

from __future__ import annotations

from .codec import same
from .record import JSON, JSONObject


def merge(target: JSON, patch: JSON) -> JSON:
    """Apply a JSON Merge Patch as RFC 7396 section 2 defines it.

    :param target: the present value; not edited.
    :param patch: an object whose members replace, nest, or with null remove; any other value replaces the target.
    :returns: the merged value; it may share parts with both arguments.
    """
    if not isinstance(patch, dict):
        return patch
    merged: JSONObject = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def diff(old: JSON, new: JSON) -> list[JSONObject]:
    """Describe how to turn one value into another as a JSON Patch (RFC 6902).

    :param old: the value before.
    :param new: the value after.
    :returns: operations of the shapes ``{"op": "add"|"replace", "path": ..., "value": ...}`` and
        ``{"op": "remove", "path": ...}``, to be applied in this order.
    """
    operations: list[JSONObject] = []
    _compare(old, new, "", operations)
    return operations


def _compare(old: JSON, new: JSON, path: str, out: list[JSONObject]) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        _compare_members(old, new, path, out)
    elif isinstance(old, list) and isinstance(new, list):
        _compare_items(old, new, path, out)
    elif not same(old, new):
        out.append({"op": "replace", "path": path, "value": new})


def _compare_members(old: JSONObject, new: JSONObject, path: str, out: list[JSONObject]) -> None:
    for name in old:
        where = f"{path}/{_escaped(name)}"
        if name in new:
            _compare(old[name], new[name], where, out)
        else:
            out.append({"op": "remove", "path": where})
    out.extend(
        {"op": "add", "path": f"{path}/{_escaped(name)}", "value": value}
        for name, value in new.items()
        if name not in old
    )


def _compare_items(old: list[JSON], new: list[JSON], path: str, out: list[JSONObject]) -> None:
    shared = min(len(old), len(new))
    for index in range(shared):
        _compare(old[index], new[index], f"{path}/{index}", out)
    # From the end, so that each removal leaves the earlier indexes as they are.
    out.extend({"op": "remove", "path": f"{path}/{index}"} for index in range(len(old) - 1, shared - 1, -1))
    out.extend({"op": "add", "path": f"{path}/-", "value": value} for value in new[shared:])


def _escaped(name: str) -> str:
    """Write a member name as a JSON Pointer token (RFC 6901 section 3)."""
    return name.replace("~", "~0").replace("/", "~1")
