"""The same for programs: JSON in and out, a bearer token, problem details for errors (RFC 9457)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, abort, current_app, jsonify, request, url_for

from flask_statemanager import State, StateNotFound, StateType, StateValidationError

from .. import accounts, actions, counters, features, purchases, switches
from ..access import check_bearer
from ..accounts import account_of
from ..extensions import db, state_manager, unit_of_work
from ..machines import PURCHASE
from ..models import CreditPackage
from .listing import Listing, listing, number, whole
from .users import FILTERS as USER_FILTERS

blueprint = Blueprint("api", __name__, url_prefix="/api")

TYPES = {
    "users": (StateType.USER.value, USER_FILTERS),
    "purchases": (PURCHASE, {"package": "data.package", "error": "data.error"}),
    "subscriptions": (StateType.SUBSCRIPTION.value, {"plan": "data.plan", "cycle": "data.cycle"}),
    "features": (StateType.FEATURE.value, {"key": "data.key"}),
}
"""Type and filters of each collection."""

COLLECTION = "any(users, purchases, subscriptions, features)"


@blueprint.before_request
def authenticate() -> None:
    """Ask for the token everywhere but at the health check, and let nobody ask too often."""
    if request.endpoint != "api.health":
        check_bearer()
        most = current_app.config["API_LIMIT"]
        counters.limit("api", str(request.remote_addr), most=most, window=counters.API_WINDOW)


@blueprint.get("/health")
def health() -> Any:
    """Tell whether states can be read; 503 when not."""
    report = state_manager.get_health_status()
    return jsonify(report), 503 if report["status"] == "unhealthy" else 200


@blueprint.get("/changes")
def changes() -> Any:
    """List the newest changes."""
    found = state_manager.get_recent_changes(request.args.get("state_id"), limit=number("limit", 20, most=500))
    return jsonify(items=[{**entry, "diff": entry.diff()} for entry in found])


@blueprint.get(f"/<{COLLECTION}:collection>")
def index(collection: str) -> Any:
    """List states, oldest first, a page at a time.

    :param collection: which.
    """
    kind, filters = TYPES[collection]
    found = listing(kind, filters=filters, owner=request.args.get("owner"), order_by="created_at")
    return jsonify(items=found.states, total=found.total, next=_next(collection, found))


@blueprint.get(f"/<{COLLECTION}:collection>/<state_id>")
def show(collection: str, state_id: str) -> Any:
    """Return a state with what is possible now.

    :param collection: which.
    :param state_id: the state.
    """
    state = _found(collection, state_id)
    return jsonify({**state, "allowed_transitions": state_manager.allowed_transitions(state_id)})


@blueprint.get(f"/<{COLLECTION}:collection>/<state_id>/history")
def history(collection: str, state_id: str) -> Any:
    """List the changes of a state, oldest first.

    :param collection: which.
    :param state_id: the state.
    """
    _found(collection, state_id)
    found = state_manager.get_state_history(state_id, number("limit", 100, most=500))
    return jsonify(items=[{**entry, "diff": entry.diff()} for entry in found])


@blueprint.post("/users")
def register() -> Any:
    """Register a user: ``{"login", "email", "display_name"}``."""
    switches.require("registration")
    body = _body("login", "email", "display_name")
    with unit_of_work():
        account = accounts.register(body["login"], body["email"], body["display_name"])
        state_id = account.state_id
    return _created("users", _found("users", state_id))


@blueprint.post("/purchases")
def order() -> Any:
    """Buy a package: ``{"user_id", "package", "card"}``.

    :raises StateManagerError: when it is not acceptable or not possible.
    """
    switches.require("sales")
    body = _body("user_id", "package", "card")
    account, package = account_of(body["user_id"]), db.session.get(CreditPackage, body["package"])
    if account is None:
        raise StateNotFound(body["user_id"])
    if package is None:
        raise StateValidationError({"package": ["There is no such package."]})
    return _created("purchases", purchases.buy(account, package, body["card"]))


@blueprint.post("/payments/webhook")
def webhook() -> Any:
    """Hear from the payment provider: ``{"purchase_id", "outcome", "reference", "at"}``, and ``error`` when refused.

    Providers repeat a message until it is answered, perhaps in parallel. The header ``Idempotency-Key`` (the number of
    the message) makes all of them one: the first moves the state and the credits, the others get the same answer.

    :raises StateManagerError: when it is not acceptable or not possible, for example because the purchase has expired.
    """
    key = request.headers.get("Idempotency-Key")
    if not key:
        abort(400, "Send the header 'Idempotency-Key' with the number of the message.")
    body = _body("purchase_id", "outcome", "reference", "at")
    purchase = _found("purchases", body["purchase_id"])
    with unit_of_work():
        if body["outcome"] == "charged":
            return purchases.complete(purchase, body["reference"], at=body["at"], idempotency_key=key)
        return purchases.fail(purchase, str(body.get("error") or "refused"), at=body["at"], idempotency_key=key)


@blueprint.post(f"/<{COLLECTION}:collection>/<state_id>/transitions")
def transition(collection: str, state_id: str) -> Any:
    """Move a state: ``{"transition"}``, and ``reason`` and ``expect`` where wanted.

    :param collection: which.
    :param state_id: the state.
    """
    body = _body("transition")
    state = _found(collection, state_id)
    return actions.apply(
        state, body["transition"], reason=body.get("reason"), expect=whole(body.get("expect"), "expect")
    )


@blueprint.patch("/features/<state_id>")
def rollout(state_id: str) -> Any:
    """Change a feature's share of users: ``{"rollout"}``, and ``expect`` where wanted.

    :param state_id: the feature.
    :raises StateManagerError: when it is not acceptable.
    """
    body = _body()
    _found("features", state_id)
    share = whole(body.get("rollout"), "rollout")
    if share is None:
        raise StateValidationError({"rollout": ["Missing."]})
    return features.set_rollout(state_id, share, expect=whole(body.get("expect"), "expect"))


def _found(collection: str, state_id: str) -> State:
    state = state_manager.get_state(state_id)
    if state is None or state.type != TYPES[collection][0]:
        raise StateNotFound(state_id)
    return state


def _body(*required: str) -> dict[str, Any]:
    """Return the request's JSON object, whose required members are text."""
    body = request.get_json()
    if not isinstance(body, dict):
        abort(400, "Send a JSON object.")
    missing = {name: ["Must be text."] for name in required if not isinstance(body.get(name), str)}
    if missing:
        raise StateValidationError(missing)
    return body


def _created(collection: str, state: State) -> Any:
    location = url_for("api.show", collection=collection, state_id=state.state_id)
    return jsonify(state), 201, {"Location": location}


def _next(collection: str, found: Listing) -> str | None:
    if found.next is None:
        return None
    kept = {**found.asked, **{name: request.args[name] for name in ("size", "owner") if name in request.args}}
    return f"{url_for('api.index', collection=collection)}?{urlencode({**kept, 'after': found.next})}"
