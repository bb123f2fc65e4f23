"""What all states have in common: their page, their transitions, their history, going back."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, g, redirect, render_template, request

from flask_statemanager import State, StateNotFound, StateValidationError

from .. import actions
from ..access import admin_required, login_required, own_or_admin
from ..extensions import state_manager
from ..machines import MACHINES
from .listing import decimal, whole
from .presentation import page_of, words

blueprint = Blueprint("states", __name__, url_prefix="/states")

SHOWN = 100
"""The most history entries on a page, the newest."""


def state_page(state_id: str, state_type: str, template: str = "state.html", **extras: Any) -> Any:
    """Show one state with its history; a deleted one too, for operators, who can bring it back.

    :param state_id: the state.
    :param state_type: the type that this page is for.
    :param template: the page.
    :param extras: more for the template.
    """
    state = _live_or_last(state_id, state_type)
    own_or_admin(state.owner)
    history = state_manager.get_recent_changes(state_id, limit=SHOWN)
    return render_template(
        template,
        state=state,
        history=history,
        explanations=_explanations(state),
        timers=state_manager.list_timers(state_id),
        final=state.status in MACHINES[state_type].final,
        **extras,
    )


def _live_or_last(state_id: str, state_type: str) -> State:
    """Return a state, or what its history knows of a deleted one; end with 404 when there is neither."""
    try:
        state = state_manager.get_state(state_id)
        entries = [] if state is not None else state_manager.get_recent_changes(state_id, limit=2)
    except StateValidationError:
        abort(404, "No state can have such an id.")
    if entries and g.account.is_admin:
        before = state_manager.get_state(state_id, at=entries[0].version - 1)
        state = before and State({**before, "status": entries[0].to_status, "version": entries[0].version})
    if state is None or state.type != state_type:
        abort(404, f"There is no {state_type} {state_id}.")
    return state


def _explanations(state: State) -> list[Any]:
    """Explain every transition that the status allows, so that the page can say why a guard refuses."""
    if state.status == "deleted":
        return []
    names = [name for name in MACHINES[state.type].allowed(state.status) if name != "update"]
    if not g.account.is_admin:
        names = [name for name in names if (state.type, name) in actions.OWNERS_MAY]
    return [state_manager.explain(state.state_id, name) for name in names]


@blueprint.post("/<state_id>/transition")
@login_required
def transition(state_id: str) -> Any:
    """Move a state along a transition, if it is still at the version that the page showed.

    :param state_id: the state.
    :raises StateManagerError: when it is not possible, or the page is old.
    """
    state = state_manager.get_state(state_id)
    if state is None:
        raise StateNotFound(state_id)
    name = request.form.get("transition", "")
    if not g.account.is_admin and (state.owner != g.account.state_id or (state.type, name) not in actions.OWNERS_MAY):
        abort(403, "This is for operators.")
    done = actions.apply(state, name, reason=_reason(), expect=_seen(), hours=_hours())
    flash(f"{done.name}: {words(name)} done, the status is {words(done.status)}.", "good")
    return redirect(page_of(state_id, done.type) or "/")


@blueprint.post("/<state_id>/rollback")
@admin_required
def rollback(state_id: str) -> Any:
    """Go back to an earlier version, by appending one.

    :param state_id: the state.
    """
    version = whole(request.form.get("to_version"), "to_version")
    done = state_manager.rollback_state(state_id, version, expect=_seen(), reason=_reason(), undelete=True)
    flash(f"{done.name}: version {version} is restored as version {done.version}.", "good")
    return redirect(page_of(state_id, done.type) or "/")


def _reason() -> str | None:
    return request.form.get("reason", "").strip() or None


def _hours() -> float | None:
    return decimal(request.form.get("hours"), "hours")


def _seen() -> int:
    """Return the version that the form's page showed; without one, a form could overwrite what nobody has seen."""
    version = whole(request.form.get("expect"), "expect")
    if version is None:
        raise StateValidationError({"expect": ["The form does not say which version it is about: reload the page."]})
    return version
