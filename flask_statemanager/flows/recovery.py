"""Going back, and finding a way on: what a session does when a conversation has got stuck.

Each call of :meth:`Recovery.recover` goes one rung further, until the conversation makes progress again: the step once
more, the step before it, the flow from its beginning, and at last no flow at all, which leads to the dashboard.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..core.clock import iso
from ..core.record import JSONObject
from ..errors import StateValidationError, shown
from .damage import RECOVERIES
from .document import CHANNELS, FLOW, Act, Situation, edited

RETRY, PREVIOUS, RESTART, HOME = "retry", "previous", "restart", "home"

RUNGS = (RETRY, PREVIOUS, RESTART, HOME)
"""The ways of recovering, the gentlest first."""

Back = Callable[[JSONObject], bool]
"""Tells of a remembered step, ``{"path", "component", "data"}``, whether one may go back to it."""


class Recovery(ABC):
    """The half of a session that goes back."""

    @property
    @abstractmethod
    def _situation(self) -> Situation:
        """The conversation, with what this session has changed."""

    @abstractmethod
    def _now(self) -> datetime:
        """Return the present moment."""

    @abstractmethod
    def _act(self, act: Act, event: str, details: Mapping[str, Any], *, looks_at: Sequence[str] = ()) -> None:
        """Take an act into the turn."""

    def rollback(self, steps: int = 1, *, to: Back | None = None) -> bool:
        """Go back to an earlier step, with the data that the flow had when it left that; at most ten are remembered.

        :param steps: how many steps.
        :param to: tells which steps count; all by default.
        :returns: False when so many are not remembered; nothing is changed then.
        :raises StateValidationError: when ``steps`` is no number from 1 on.
        """
        if type(steps) is not int or steps < 1:
            raise StateValidationError({"steps": [f"Must be a number from 1 on, not {shown(steps)}."]})
        flow = self._present_flow()
        target = _target(flow, steps, to)
        if target is None:
            return False
        self._act(_editing(lambda flow: _rolled_back(flow, steps, to)), "rollback", {"to": _place(target)})
        return True

    def recover(self, how: str | None = None, *, to: Back | None = None) -> str:
        """Find a way on for a conversation that is stuck, one rung further each time.

        :param how: take this rung of ``retry``, ``previous``, ``restart``, ``home``; by default the next one.
        :param to: as for :meth:`rollback`.
        :returns: the rung that was taken. A step that there is not leads to the rung behind.
        :raises StateValidationError: when there is no such rung.
        """
        if how is not None and how not in RUNGS:
            raise StateValidationError({"how": [f"{shown(how)} is no way: choose among {', '.join(RUNGS)}."]})
        flow = self._present_flow()
        taken = _rung(flow) if how is None else how
        if taken == PREVIOUS and _target(flow, 1, to) is None:
            taken = RESTART
        if taken != HOME and not flow.get("path"):
            taken = HOME
        details = {"how": taken, "from": _place(flow), "recoveries": flow.get(RECOVERIES, 0) + 1}
        self._act(_editing(lambda flow: _recovered(flow, taken, to)), "recovery", details)
        return taken

    def begin_anew(self) -> None:
        """Begin with nothing but the channel, and the member where that is known, whatever is stored."""
        self._act(edited(_begun_anew), "recovery", {"how": "clean"})

    def forget_previous(self) -> None:
        """Forget the steps that can be gone back to, as what was done behind them cannot be taken back."""
        if self._present_flow().get("previous"):
            self._act(_editing(lambda flow: _without(flow, "previous")), "no_way_back", {})

    def note_progress(self) -> None:
        """Note that the conversation goes well, so that a later :meth:`recover` begins with the gentlest rung."""
        if self._present_flow().get(RECOVERIES):
            self._act(_editing(lambda flow: _without(flow, RECOVERIES)), "progress", {})

    def _present_flow(self) -> JSONObject:
        found: JSONObject = self._situation.document(self._now()).get(FLOW, {})
        return found


def _begun_anew(document: JSONObject, now: datetime) -> JSONObject:
    kept = {name: document[name] for name in ("channel", "member_id", CHANNELS) if name in document}
    return {**kept, "_metadata": {"initialized_at": iso(now)}}


def _editing(edit: Callable[[JSONObject], JSONObject | None]) -> Act:
    def change(document: JSONObject, _now: datetime) -> JSONObject:
        flow = edit(document.get(FLOW, {}))
        kept = _without(document, FLOW)
        return kept if flow is None else {**kept, FLOW: flow}

    return edited(change)


def _without(members: JSONObject, *names: str) -> JSONObject:
    return {name: value for name, value in members.items() if name not in names}


def _place(flow: JSONObject) -> list[Any]:
    return [flow.get("path"), flow.get("component")]


def _target(flow: JSONObject, steps: int, to: Back | None) -> JSONObject | None:
    counting = [step for step in flow.get("previous", ()) if to is None or to(step)]
    return counting[-steps] if len(counting) >= steps else None


def _rolled_back(flow: JSONObject, steps: int, to: Back | None) -> JSONObject:
    target = _target(flow, steps, to)
    if target is None:  # somebody else was faster and has gone on from elsewhere
        return flow
    previous: list[JSONObject] = flow["previous"]
    kept = _without(flow, "result", "previous")
    left = previous[: _last(previous, target)]
    back = {**kept, **target, "awaiting": True, "validation": _calm(flow, target.get("component"))}
    return {**back, "previous": left} if left else back


def _last(previous: Sequence[JSONObject], target: JSONObject) -> int:
    return max(place for place, step in enumerate(previous) if step is target)


def _calm(flow: JSONObject, component: object) -> JSONObject:
    """Return how validation stands once the attempts of a component count anew."""
    found = flow.get("validation", {})
    attempts = {name: count for name, count in found.get("attempts", {}).items() if name != str(component)}
    return {**found, "attempts": attempts, "error": None, "in_progress": False}


def _rung(flow: JSONObject) -> str:
    return RUNGS[min(flow.get(RECOVERIES, 0), len(RUNGS) - 1)]


def _recovered(flow: JSONObject, how: str, to: Back | None) -> JSONObject | None:
    if how == HOME:
        return None
    counted = {**flow, RECOVERIES: max(flow.get(RECOVERIES, 0), RUNGS.index(how)) + 1}
    if how == PREVIOUS:
        return _rolled_back(counted, 1, to)
    calm = {**_without(counted, "result"), "validation": _calm(flow, flow.get("component")), "awaiting": True}
    if how == RETRY:
        return calm
    return _without(calm, "component", "data", "previous", "validation", "awaiting")
