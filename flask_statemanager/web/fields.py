"""Fields of requests and answers, each with the words and the example that the OpenAPI document shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marshmallow import Schema, fields, validate
from webargs.fields import DelimitedList

from ..core.names import ID_PATTERN, WORD_PATTERN
from ..lifecycle.validation import MAX_TEXT

STATE_ID, WORD = f"^{ID_PATTERN}$", f"^{WORD_PATTERN}$"
MAX_NUMBER = 2**63 - 1


def text(described: str, example: str | None = None, *, most: int = MAX_TEXT, **more: Any) -> fields.String:
    """Return a field of text, not empty.

    :param described: what it means.
    :param example: one value.
    :param most: the most characters.
    :param more: further arguments of the field.
    """
    return fields.String(validate=validate.Length(1, most), metadata=_told(described, example), **more)


def identifier(described: str, example: str = "user_1", **more: Any) -> fields.String:
    """Return a field for a state's id; the verb says what is wrong with one.

    :param described: what it means.
    :param example: one value.
    :param more: further arguments of the field.
    """
    return fields.String(metadata=_told(described, example, pattern=STATE_ID), **more)


def word(described: str, example: str, **more: Any) -> fields.String:
    """Return a field for the name of a type, status or transition; the verb says what is wrong with one.

    :param described: what it means.
    :param example: one value.
    :param more: further arguments of the field.
    """
    return fields.String(metadata=_told(described, example, pattern=WORD), **more)


def number(described: str, example: int, *, least: int = 1, most: int = MAX_NUMBER, **more: Any) -> fields.Integer:
    """Return a field of a whole number.

    :param described: what it means.
    :param example: one value.
    :param least: the smallest.
    :param most: the largest.
    :param more: further arguments of the field, such as ``strict`` where it comes as JSON.
    """
    return fields.Integer(validate=validate.Range(least, most), metadata=_told(described, example), **more)


def moment(described: str, example: str | None = "2026-01-31T12:00:00Z", **more: Any) -> fields.AwareDateTime:
    """Return a field for a moment with a time zone.

    :param described: what it means.
    :param example: one value.
    :param more: further arguments of the field.
    """
    return fields.AwareDateTime(format="iso", metadata=_told(described, example), **more)


def document(described: str, example: object = None, **more: Any) -> fields.Dict:
    """Return a field for a JSON object with any members.

    :param described: what it means.
    :param example: one value.
    :param more: further arguments of the field.
    """
    return fields.Dict(keys=fields.String(), metadata=_told(described, example), **more)


def words(described: str, example: list[str], **more: Any) -> fields.List[Any]:
    """Return a field for several names.

    :param described: what they mean.
    :param example: one value.
    :param more: further arguments of the field.
    """
    return fields.List(fields.String(), metadata=_told(described, example), **more)


def separated(described: str, example: list[str], **more: Any) -> DelimitedList:
    """Return a field for several names in one parameter, separated by commas.

    :param described: what they mean.
    :param example: one value.
    :param more: further arguments of the field.
    """
    return DelimitedList(fields.String(), metadata=_told(described, example), **more)


def choice(described: str, options: Sequence[str], **more: Any) -> fields.String:
    """Return a field for one of some words.

    :param described: what it means.
    :param options: the words.
    :param more: further arguments of the field.
    """
    return fields.String(validate=validate.OneOf(options), metadata=_told(described, options[-1]), **more)


def flag(described: str, **more: Any) -> fields.Boolean:
    """Return a field for true or false.

    :param described: what true means.
    :param more: further arguments of the field, such as ``truthy`` and ``falsy`` where it comes as JSON.
    """
    return fields.Boolean(metadata=_told(described, True), **more)


class _Number(fields.Float):
    """A number that comes as one, not as text."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **given: Any) -> float:
        if isinstance(value, str):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **given)


def seconds(described: str, example: float = 3600.0, **more: Any) -> fields.Float:
    """Return a field for a number of seconds that comes as JSON; the verb says what is wrong with one.

    :param described: what it means.
    :param example: one value.
    :param more: further arguments of the field.
    """
    return _Number(metadata=_told(described, example), **more)


def several(schema: type[Schema], described: str, **more: Any) -> fields.List[Any]:
    """Return a field for a list of objects.

    :param schema: what each is.
    :param described: what they mean.
    :param more: further arguments of the field.
    """
    return fields.List(fields.Nested(schema), metadata=_told(described, None), **more)


def _told(described: str, example: object, **more: object) -> dict[str, Any]:
    shown = {} if example is None else {"examples": [example]}
    return {"description": described, **shown, **more}
