"""What a session does to its conversation. Each verb is one pure act on the document."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ..core.clock import iso
from ..core.names import check_text
from ..core.patch import merge
from ..core.record import JSON, JSONObject
from ..errors import StateValidationError, shown
from .channel import check_identifier, member_key
from .document import FLOW, Act, Situation, edited, joined, left, moved
from .parts import FlowParts
from .update import Update, textual
from .view import state_of

TOKEN_TTL = 300.0
"""Seconds that a token counts."""

MAX_TOKEN = 16_384
_LONGEST = 366 * 86400.0


class Verbs(ABC):
    """The writing half of a session.

    All of them raise :class:`StateConflict` when racers won every attempt, :class:`LimitExceeded` when the document
    gets too large, and :class:`StorageError` when the storage fails; inside a ``with`` statement at its end.
    """

    _parts: FlowParts

    @property
    @abstractmethod
    def _situation(self) -> Situation:
        """The conversation, with what this session has changed."""

    @abstractmethod
    def _now(self) -> datetime:
        """Return the present moment."""

    @abstractmethod
    def _clean(self, value: JSON, field: str) -> JSON:
        """Return a caller's value as clean JSON."""

    @abstractmethod
    def _act(self, act: Act, event: str, details: Mapping[str, Any], *, looks_at: Sequence[str] = ()) -> None:
        """Take an act into the turn."""

    def _edit(self, edit: Callable[[JSONObject], JSONObject], event: str, **details: Any) -> None:
        self._act(edited(lambda document, _now: edit(document)), event, details)

    # -- the whole state -------------------------------------------------------------------------------------------

    def update_state(self, update: Mapping[str, Any]) -> None:
        """Change members of the state.

        Objects nest, as in a JSON Merge Patch (RFC 7396), and None removes. ``flow_data`` takes the spellings of other
        systems: ``context`` for ``path``, ``step`` for ``component``. A datetime is kept as text; one without a time
        zone means UTC. An update that is refused counts as an attempt, and changes nothing else.

        :param update: the members.
        :raises StateValidationError: when something in it is not acceptable, or a member is critical: ``member_id``,
            ``channel`` and ``auth`` have verbs of their own.
        :raises LimitExceeded: when it is too large.
        """
        try:
            taken = Update.of(update, lambda: state_of(self._situation, None, self._now()), self._parts.limit)
            self._act(self._updating(taken), "update", {"fields": sorted(map(str, update))})
        except StateValidationError as error:
            self.track_validation("update_state", error=str(error))
            raise

    def _updating(self, update: Update) -> Act:
        validator = self._parts.validator

        def edit(document: JSONObject, now: datetime) -> JSONObject:
            after = update.applied(document, now)
            validator.check(after, update.members)
            return after

        return edited(edit)

    def clear_flow_data(self) -> None:
        """End the flow; who the member is, the login and everything else at the top level stay."""
        self._edit(lambda document: {name: value for name, value in document.items() if name != FLOW}, "flow_cleared")

    def clear_all_state(self) -> None:
        """Begin anew, with the channel alone: it belongs to no member then, whose other channels go on."""
        self._act(left, "cleared", {})

    # -- who it is -------------------------------------------------------------------------------------------------

    def link_member(self, member_id: str | int, *, flow: str = "member") -> None:
        """Make this conversation the member's: all channels that are linked to one member are one conversation.

        Where the member has one already, it goes on here; what only this channel knew is added to it.

        :param member_id: the member.
        :param flow: whose flow goes on where both are in the middle of one: ``member`` or ``channel``.
        :raises StateValidationError: when the channel belongs to another member, or an argument is unusable.
        """
        if flow not in ("member", "channel"):
            raise StateValidationError({"flow": [f"{shown(flow)} is neither 'member' nor 'channel'."]})
        member = check_identifier(member_id, "member_id")
        self._act(joined(member, flow), "linked", {"member_id": member}, looks_at=[member_key(member)])

    def authenticate(self, member_id: str | int, token: str, ttl: float = TOKEN_TTL) -> None:
        """Note a login: link the member, and keep the token until it expires.

        :param member_id: the member.
        :param token: the token; it is never logged, audited or sent as an event.
        :param ttl: seconds that it counts.
        :raises StateValidationError: when the channel belongs to another member, or an argument is unusable.
        :raises LimitExceeded: when the token is too long.
        """
        member, secret, seconds = check_identifier(member_id, "member_id"), _token(token), _seconds(ttl)
        join = joined(member, "member")

        def act(situation: Situation, now: datetime) -> Situation:
            linked = join(situation, now)
            auth = {"token": secret, "expires_at": iso(now + timedelta(seconds=seconds))}
            return linked.holding({**linked.document(now), "auth": auth})

        self._act(act, "authenticated", {"member_id": member, "ttl": seconds}, looks_at=[member_key(member)])

    def end_authentication(self) -> None:
        """Forget the token; the channel still belongs to the member."""
        self._edit(lambda document: {name: value for name, value in document.items() if name != "auth"}, "signed_out")

    # -- the flow --------------------------------------------------------------------------------------------------

    def transition_flow(
        self, path: str, component: str | int | None = None, *, data: Mapping[str, Any] | None = None
    ) -> None:
        """Go to another step. Where the flow was is remembered, to be taken back.

        :param path: the path.
        :param component: the component on it.
        :param data: what is added to the flow's data.
        :raises StateValidationError: when an argument is unusable.
        """
        where = check_text(path, "path", 255)
        step = component if component is None or type(component) is int else check_text(component, "component", 255)
        added: JSONObject = self._clean(textual(dict(data or {})), "data")
        came = self._situation.document(self._now()).get(FLOW, {})

        def edit(flow: JSONObject) -> JSONObject:
            at = moved(flow, where, step)
            return {**at, "data": merge(at.get("data", {}), added)} if added else at

        details = {"from": [came.get("path"), came.get("component")], "to": [where, step]}
        self._edit_flow(edit, "transition", **details)

    def set_component_result(self, result: Any) -> None:
        """Note what the active component came to.

        :param result: any JSON value.
        :raises StateValidationError: when it is not JSON.
        """
        value = self._clean(textual(result), "result")
        self._edit_flow(lambda flow: {**flow, "result": value}, "result")

    def set_component_awaiting(self, awaiting: bool) -> None:
        """Note whether the active component waits for the user.

        :param awaiting: whether it does.
        """
        self._edit_flow(lambda flow: {**flow, "awaiting": bool(awaiting)}, "awaiting", awaiting=bool(awaiting))

    def update_component_data(self, data: Mapping[str, Any]) -> None:
        """Add to what the flow has collected.

        :param data: a JSON Merge Patch: objects nest, None removes.
        :raises StateValidationError: when it is no JSON object.
        """
        if not isinstance(data, Mapping):
            raise StateValidationError({"data": [f"Must be a dict, not {shown(data)}."]})
        patch = self._clean(textual(dict(data)), "data")
        self._edit_flow(lambda flow: {**flow, "data": merge(flow.get("data", {}), patch)}, "data", fields=sorted(patch))

    def track_validation(
        self, component: str | int | None = None, *, error: str | None = None, attempt: Any = None
    ) -> None:
        """Note how the validation of an input came out; attempts are counted until one succeeds.

        :param component: the component; the active one by default.
        :param error: why the input was refused; None where it was accepted.
        :param attempt: what is remembered of the attempt, JSON; never an input that is a secret.
        :raises StateValidationError: when ``attempt`` is not JSON.
        """
        remembered = self._clean(textual(attempt), "attempt")
        given = None if component is None else str(component)

        def edit(document: JSONObject, now: datetime) -> JSONObject:
            flow = document.get(FLOW, {})
            name = str(flow.get("component")) if given is None else given
            found = flow.get("validation", {})
            attempts = {each: count for each, count in found.get("attempts", {}).items() if each != name}
            if error is not None:
                attempts[name] = found.get("attempts", {}).get(name, 0) + 1
            last: JSONObject = {"component": name, "at": iso(now)}
            if remembered is not None:
                last["value"] = remembered
            validation = {
                **found,
                "attempts": attempts,
                "last_attempt": last,
                "error": error,
                "in_progress": bool(error),
            }
            return {**document, FLOW: {**flow, "validation": validation}}

        self._act(edited(edit), "validation", {"component": given, "error": error})

    def _edit_flow(self, edit: Callable[[JSONObject], JSONObject], event: str, **details: Any) -> None:
        self._edit(lambda document: {**document, FLOW: edit(document.get(FLOW, {}))}, event, **details)


def _token(value: object) -> str:
    # The error must not show it.
    if not isinstance(value, str) or not value:
        raise StateValidationError({"token": ["Must be text and not empty."]})
    return check_text(value, "token", MAX_TOKEN)


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LONGEST:
        return float(value)
    raise StateValidationError({"ttl": [f"Must be a positive number of seconds, not {shown(value)}."]})
