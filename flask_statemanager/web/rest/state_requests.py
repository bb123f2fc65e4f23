"""What the routes for states take: query strings and bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import RAISE, Schema, pre_load, validates_schema
from marshmallow.exceptions import ValidationError

from ...core.conditions import operand
from ...core.query import OPERATORS, ORDERS
from ...lifecycle.query import MAX_PAGE
from ...security.actor import MAX_REASON
from ..fields import choice, document, flag, identifier, moment, number, seconds, separated, text, word, words

DATA = {"email": "ann@example.com", "plan": "pro"}
METADATA = {"imported": False}
SORTS = [*ORDERS, *(f"-{order}" for order in ORDERS)]
CURSOR = "Go on behind the page that named this cursor."
REASON = "Written into the history."


class Strict(Schema):
    """A body or query string that may hold nothing beyond its fields."""

    class Meta:
        """Unknown members are refused."""

        unknown = RAISE


class Reasoned(Strict):
    """The query string of a write whose body is the change itself, or that has none."""

    reason = text(REASON, "asked for by phone", most=MAX_REASON)


class StatesQuery(Strict):
    """Which states, in which order, which page."""

    type = word("Only states of this type.", "user")
    status = separated("Only states in this status, or one of these.", ["active", "suspended"])
    owner = text("Only states of this owner.", "42")
    sort = choice("The order, with a leading `-` for descending.", SORTS, load_default="created_at")
    limit = number("The most states of a page.", 50, most=MAX_PAGE, load_default=50)
    cursor = text(CURSOR, most=1000)
    filters = document(
        "Conditions on fields, each a parameter of its own: `data.plan=pro`, `data.amount__gte=10`, "
        "`metadata.source__in=web,app`, `updated_at__gt=2026-01-31T12:00:00Z`. A value is read as JSON, or else as "
        f"text. Operators: {', '.join(f'`__{each}`' for each in OPERATORS if each != 'eq')}.",
        {"data.plan": "pro"},
    )

    @pre_load
    def gather(self, data: Mapping[str, str], **_kwargs: Any) -> dict[str, Any]:
        """Put the conditions, which are parameters of their own, where the schema has them.

        :param data: the query.
        :raises StateValidationError: when a condition cannot be read.
        """
        known = self.fields.keys() - {"filters"}
        given: dict[str, Any] = {name: data[name] for name in known if name in data}
        return given | {"filters": {name: operand(name, data[name]) for name in data if name not in known}}


class StateQuery(Strict):
    """As of when a state is asked for."""

    version = number("As it was at this version.", 1)
    at = moment("As it was at this moment.")

    @validates_schema
    def check_one(self, data: dict[str, Any], **_kwargs: Any) -> None:
        """Refuse both at once.

        :param data: the query.
        :raises ValidationError: when version and moment are given.
        """
        if len(data) > 1:
            raise ValidationError("Give either version or at, not both.", "version")


class HistoryQuery(Strict):
    """Which page of a history."""

    limit = number("The most changes of a page.", 50, most=MAX_PAGE, load_default=50)
    cursor = text(CURSOR, most=1000)
    order = choice("Which come first.", ["oldest", "newest"], load_default="oldest")


class DiffQuery(Strict):
    """Which two versions."""

    from_version = number("The older version; the one before `to` by default.", 1, data_key="from")
    to_version = number("The newer version; the present one by default.", 2, data_key="to")


class Content(Strict):
    """The parts of a state that its owner writes."""

    name = text("A descriptive name.", "Ann's account")
    data = document("The application's data.", DATA)
    metadata = document("Data about the data.", METADATA)
    owner = text("Whose it is.", "42")
    expires_at = moment("When it expires; its type needs a transition `expire`.", None)


class NewState(Content):
    """A state to be created."""

    state_id = identifier("Its id; left out, one is made that orders by time.")
    type = word("A declared type.", "user", required=True)
    status = word("One of the type's initial statuses; the first of them by default.", "created")
    ttl = seconds("Seconds until it expires, instead of `expires_at`.")
    reason = text(REASON, "signed up", most=MAX_REASON)


class StatePatch(Content):
    """A JSON Merge Patch (RFC 7396) of a state: objects nest, null removes a member of data or metadata."""


class Move(Content):
    """What changes with a transition."""

    mode = choice(
        "Whether `data` and `metadata` are merge patches (RFC 7396) or replace what is there.",
        ["replace", "merge"],
        load_default="merge",
    )
    ttl = seconds("Seconds until it expires, instead of `expires_at`.")
    reason = text(REASON, "the payment failed", most=MAX_REASON)


class Rollback(Strict):
    """Which version to restore."""

    to_version = number("The version to restore.", 1, strict=True)
    at = moment("Or the moment whose version to restore.", None)
    undelete = flag("Let a deleted state come back.", load_default=False, truthy={True}, falsy={False})
    reason = text(REASON, "changed by mistake", most=MAX_REASON)


class NewTimer(Strict):
    """A transition to be made later."""

    transition = word("A transition of the state's machine; it need not be allowed yet.", "resume", required=True)
    at = moment("When; in the past means at once.", None)
    after = seconds("Or in how many seconds.")
    data = document("Merged into the data then.", {"suspended": None})
    key = text("A name for it; a pending timer of that name is replaced.", "end-of-suspension")
    only_in = words("Make it only in one of these statuses.", ["suspended"])
    reason = text(REASON, "suspended for an hour", most=MAX_REASON)


class TimersQuery(Strict):
    """Which timers of a state."""

    status = separated("Only timers in this status, or one of these; all by default.", ["pending"])
    limit = number("The most timers.", 50, most=MAX_PAGE, load_default=50)
    cursor = text(CURSOR, most=1000)


class CancelQuery(Reasoned):
    """Which timers to cancel; all that have not fired by default."""

    key = text("Only the timer of this name.", "end-of-suspension")
    transition = word("Only timers of this transition.", "resume")


class DiagramQuery(Strict):
    """How a machine is drawn."""

    deletion = flag("Draw the transition `delete` too.", load_default=False)
