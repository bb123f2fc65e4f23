"""What the routes for states answer; the OpenAPI document is made from these, and tests hold the answers to it."""

from __future__ import annotations

from marshmallow import RAISE, Schema, fields

from ..fields import document, flag, identifier, moment, number, seconds, several, text, word, words
from .state_requests import DATA, METADATA

NEXT = "The cursor of the next page; null where this is the last."


class Answered(Schema):
    """An answer that holds nothing beyond its fields."""

    class Meta:
        """Unknown members are refused."""

        unknown = RAISE


class StateAnswer(Answered):
    """A state at one version."""

    state_id = identifier("The id.", required=True)
    name = text("A descriptive name.", "user_1", required=True)
    type = word("The type.", "user", required=True)
    status = word("Where it stands in its machine.", "active", required=True)
    data = document("The application's data.", DATA, required=True)
    metadata = document("Data about the data.", METADATA, required=True)
    version = number("How often it was written; the ETag.", 2, required=True)
    revision = number("The position of its last change in the log.", 17, required=True)
    created_at = moment("When it was created.", required=True)
    updated_at = moment("When it was last written.", required=True)
    expires_at = moment("When it expires, where it does.", None)
    owner = text("Whose it is, where it is somebody's.", "42")


class StatesAnswer(Answered):
    """A page of states."""

    items = several(StateAnswer, "The states.", required=True)
    next = text(NEXT, most=1000, required=True, allow_none=True)


class ChangeAnswer(Answered):
    """One change of a state."""

    state_id = identifier("The id.", required=True)
    version = number("The version that it made.", 2, required=True)
    revision = number("Its position in the log.", 17, required=True)
    transition_type = word("The transition.", "activate", required=True)
    from_status = word("The status before; null where the state began.", "created", required=True, allow_none=True)
    to_status = word("The status after.", "active", required=True)
    timestamp = moment("When.", required=True)
    actor = text("Who.", "42", required=True, allow_none=True)
    source = text("Through which part of the system.", required=True, allow_none=True)
    reason = text("Why.", "paid", required=True, most=10_000, allow_none=True)
    request_id = text("The `X-Request-ID` of the request.", required=True, allow_none=True)
    old_data = document("The data before.", {}, required=True)
    new_data = document("The data after.", DATA, required=True)


class HistoryAnswer(Answered):
    """A page of a history."""

    items = several(ChangeAnswer, "The changes.", required=True)
    next = text(NEXT, most=1000, required=True, allow_none=True)


class ExplanationAnswer(Answered):
    """A transition that the status allows, and whether its guards do."""

    transition = word("The transition.", "activate", required=True)
    possible = flag("Whether it is possible now.", required=True)
    guard = text("The guard that refuses.", required=True, allow_none=True)
    reason = text("A sentence for the user.", "It is possible.", most=10_000, required=True)


class AllowedAnswer(Answered):
    """What can be done with a state now."""

    state_id = identifier("The id.", required=True)
    status = word("Its status.", "created", required=True)
    allowed = words("The transitions that are possible now.", ["activate", "suspend"], required=True)
    transitions = several(ExplanationAnswer, "All transitions that the status allows, each explained.", required=True)


class DiffAnswer(Answered):
    """How two versions of a state differ."""

    state_id = identifier("The id.", required=True)
    from_version = number("The older version; 0 for nothing.", 1, least=0, required=True, data_key="from")
    to_version = number("The newer version.", 2, required=True, data_key="to")
    patch = fields.List(
        fields.Dict(),
        required=True,
        metadata={
            "description": "A JSON Patch (RFC 6902) that turns the older into the newer.",
            "examples": [[{"op": "replace", "path": "/status", "value": "active"}]],
        },
    )


class EdgeAnswer(Answered):
    """One way through a machine."""

    transition = word("The transition.", "activate", required=True)
    source = word("The status that it leaves.", "created", required=True)
    target = word("The status that it leads to.", "active", required=True)
    guards = words("The conditions that must hold.", [], required=True)


class DeadlineAnswer(Answered):
    """A status that must be left in time."""

    status = word("The status.", "created", required=True)
    after = seconds("Seconds.", 900.0, required=True)
    transition = word("What is made then.", "expire", required=True)
    policy = word("What happens when the status is entered again.", "restart", required=True)


class TypeAnswer(Answered):
    """A declared type."""

    type = word("Its name.", "user", required=True)
    statuses = words("Its statuses.", ["created", "active"], required=True)
    initial = words("The statuses of new states; the first is the default.", ["created"], required=True)
    final = words("The statuses that are never left.", [], required=True)
    transitions = several(EdgeAnswer, "Its ways, in the order of declaration.", required=True)
    deadlines = several(DeadlineAnswer, "Its deadlines.", required=True)
    validators = number("How many validators it has.", 0, least=0, required=True)
    schema = document("The JSON Schema of its data; null where none is registered.", required=True, allow_none=True)


class TypesAnswer(Answered):
    """All declared types."""

    items = several(TypeAnswer, "By name.", required=True)


class TimerAnswer(Answered):
    """A transition to be made later, or one that was."""

    id = number("The id.", 3, required=True)
    state_id = identifier("Of which state.", required=True)
    transition = word("Which transition.", "resume", required=True)
    key = text("Its name; null for a deadline.", "end-of-suspension", required=True, allow_none=True)
    deadline = word("The status whose deadline it is; null for a timer.", "created", required=True, allow_none=True)
    status = word("`pending`, `paused`, `done`, `skipped`, `cancelled` or `dead`.", "pending", required=True)
    due_at = moment("When.", required=True, allow_none=True)
    data = document("What is merged into the data then.", None, required=True, allow_none=True)
    metadata = document("What is merged into the metadata then.", None, required=True, allow_none=True)
    name = text("The name that the state gets then.", required=True, allow_none=True)
    only_in = words("The statuses that it is made in; null for any.", ["suspended"], required=True, allow_none=True)
    actor = text("Who asked for it.", "42", required=True, allow_none=True)
    reason = text("Why.", most=10_000, required=True, allow_none=True)
    error = text("Why it was skipped or cancelled.", most=100_000, required=True, allow_none=True)
    created_at = moment("When it was set.", required=True)
    finished_at = moment("When it ended.", None, required=True, allow_none=True)


class TimersAnswer(Answered):
    """A page of timers."""

    items = several(TimerAnswer, "The timers.", required=True)
    next = text(NEXT, most=1000, required=True, allow_none=True)


class CancelledAnswer(Answered):
    """How many timers were cancelled."""

    cancelled = number("How many.", 1, least=0, required=True)
