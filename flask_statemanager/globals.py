"""The one proxy: the runtime of the current app, for code below the extension object."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from flask import Flask, current_app, has_app_context
from werkzeug.local import LocalProxy

from .errors import ConfigurationError
from .runtime import EXTENSION, Runtime

UNBOUND = (
    "There is no app context here, so it is not known which app's states are meant: "
    "work inside 'with app.app_context():' (a thread needs one of its own)."
)
UNINITIALISED = (
    "This app has no Flask-StateManager: call state_manager.init_app(app) in the application factory, "
    "behind db.init_app(app)."
)


# The function behind the proxy, as going through the proxy costs more than a read from the near cache.
_present_app: Callable[[], Flask] = current_app._get_current_object  # type: ignore[attr-defined]


def find_runtime() -> Runtime | None:
    """Return the runtime of the current app, or None when there is no app, or one without this extension.

    :raises ConfigurationError: when Flask-SQLAlchemy came after this extension.
    """
    try:
        extensions = _present_app().extensions
    except RuntimeError:
        return None
    runtime: Runtime | None = extensions.get(EXTENSION)
    if runtime is not None and not runtime.completed:
        runtime.complete(extensions)
    return runtime


def _required() -> Runtime:
    runtime = find_runtime()
    if runtime is None:
        raise ConfigurationError(UNINITIALISED if has_app_context() else UNBOUND)
    return runtime


current_runtime = cast(Runtime, LocalProxy(_required))
"""The runtime of the current app; using it without one raises ConfigurationError with the cure."""
