"""Mounting: the API becomes a blueprint of an app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, default_exceptions
from werkzeug.routing import RequestRedirect
from werkzeug.wrappers import Response as AnyResponse

from ..errors import ConfigurationError, StateManagerError
from ..runtime import Runtime
from .duplicates import Duplicates
from .identity import Doorkeeper
from .live.streams import Streams
from .openapi.views import TEMPLATES, Documentation
from .operation import Operations
from .problems import INTERNAL, problem_of, problem_response
from .reserved import CATCH_ALL, Unreserved, known_methods, other_methods, reserved_words
from .rest import bulk, cas, keys, snapshots, states, stats, timers, transitions, types
from .view import View, present_request, request_id_of

BLUEPRINT = "statemanager_api"
"""The name of the blueprint, and what the endpoints begin with."""

GROUPS: tuple[Operations, ...] = (
    states.operations,
    transitions.operations,
    timers.operations,
    types.operations,
    keys.operations,
    cas.operations,
    bulk.operations,
    stats.operations,
    snapshots.operations,
)
"""All that the API can do."""


def mount(app: Flask, runtime: Runtime) -> None:
    """Have an app answer at ``STATEMANAGER_API_PREFIX``.

    :param app: the app.
    :param runtime: its running parts.
    :raises ConfigurationError: when the app has a blueprint of this name already.
    """
    if BLUEPRINT in app.blueprints:
        raise ConfigurationError(f"The app has a blueprint {BLUEPRINT!r} already: give yours another name.")
    prefix = runtime.settings.api_prefix
    app.register_blueprint(blueprint_of(runtime, GROUPS))
    app.before_request(_routing_problems(prefix))


def blueprint_of(runtime: Runtime, groups: Sequence[Operations]) -> Blueprint:
    """Return a blueprint that answers the requests for operations.

    :param runtime: the running parts of the app that it is made for.
    :param groups: the operations, by group.
    """
    blueprint = Blueprint(BLUEPRINT, __name__, url_prefix=runtime.settings.api_prefix, template_folder=TEMPLATES)
    operations = [operation for group in groups for operation in group]
    doorkeeper, duplicates = Doorkeeper(runtime), Duplicates(runtime.settings.idempotency_wait)
    words = reserved_words(operations)
    for operation in operations:
        view = View(operation, runtime, doorkeeper, duplicates)
        blueprint.add_url_rule(
            operation.rule,
            operation.name,
            _function(Unreserved(view, words) if operation.rule == CATCH_ALL else view),
            methods=[operation.method],
            # A redirect would send a write somewhere else; such a path is no other way to write a key.
            merge_slashes=False,
        )
    Documentation(groups, runtime, doorkeeper).add_to(blueprint)
    if runtime.settings.broadcast_changes:
        Streams(runtime, doorkeeper).add_to(blueprint)
    blueprint.register_error_handler(StateManagerError, _refused)
    blueprint.register_error_handler(HTTPException, _failed)
    blueprint.register_error_handler(Exception, _unexpected)
    for status in default_exceptions:
        # An app's page for a status goes before what is registered for all of them.
        blueprint.register_error_handler(status, _failed)
    return blueprint


def _function(view: View | Unreserved) -> Callable[..., Response]:
    """Return a view as a function, of which Flask finds out sooner than of another object that it is no coroutine."""

    def answer(**arguments: Any) -> Response:
        return view(**arguments)

    return answer


def _refused(error: Exception) -> AnyResponse:
    """Answer an error of this package."""
    problem = problem_of(error)
    if problem.kind is INTERNAL:
        # Flask logs it, and shows it to a developer whose app is in debug mode.
        raise error
    return problem_response(problem, request_id_of(request.environ))


def _failed(error: Exception) -> AnyResponse:
    """Answer an error of Werkzeug's, or whatever the app has raised, which Flask has logged."""
    given: AnyResponse | None = getattr(error, "response", None)
    return problem_response(problem_of(error), request_id_of(request.environ)) if given is None else given


def _unexpected(error: Exception) -> Any:
    """Leave an error to a handler of just its kind, such as that of an extension which checks tokens.

    A page of the app's for whatever goes wrong is for people: instead of it Flask logs the error, and it is a 500.
    """
    known = current_app.error_handler_spec[None][None]
    own = next((known[kind] for kind in type(error).__mro__ if kind in known and kind is not Exception), None)
    if own is None:
        raise error
    return current_app.ensure_sync(own)(error)


def _routing_problems(prefix: str) -> Callable[[], Any]:
    """Return what answers below the prefix where nothing is at the path, as no blueprint is asked then."""

    def answer() -> Response | None:
        error = present_request().routing_exception
        if error is None or not (request.path == prefix or request.path.startswith(f"{prefix}/")):
            return None
        if _leads_elsewhere(error):
            return None
        known = known_methods() if isinstance(error, MethodNotAllowed) else {}
        if known:
            error = MethodNotAllowed(other_methods() or list(known))
        elif error.code in (RequestRedirect.code, NotFound.code, MethodNotAllowed.code):
            error = NotFound("There is nothing at this path: a key has no empty segment and no slash at its ends.")
        return problem_response(problem_of(error), request_id_of(request.environ))

    return answer


def _leads_elsewhere(error: HTTPException) -> bool:
    """Tell whether an error is a redirect that stays one."""
    # Before Werkzeug 3.0.2 a map merges slashes also for a rule that does not.
    merged = isinstance(error, RequestRedirect) and "//" in request.path
    return (error.code is None or error.code < 400) and not merged
