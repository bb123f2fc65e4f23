"""Mounting: the admin pages become a blueprint of an app."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request
from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PrefixLoader
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, default_exceptions
from werkzeug.routing import MapAdapter

from ..config.settings import Settings
from ..errors import ConfigurationError, StateManagerError
from ..runtime import Runtime
from . import (
    audit,
    conversations,
    effects,
    health,
    keys,
    live,
    overview,
    sessions,
    snapshots,
    timers,
    types,
    user_stores,
    works,
)
from .answers import FOLDER
from .frame import Frame
from .page import Act, Page, Pages
from .states import pages as states
from .visit import BLUEPRINT

GROUPS: tuple[Pages, ...] = (
    overview.pages,
    states.pages,
    types.pages,
    effects.pages,
    timers.pages,
    snapshots.pages,
    works.pages,
    health.pages,
    keys.pages,
    conversations.pages,
    live.pages,
    audit.pages,
    sessions.pages,
    user_stores.pages,
)
"""All pages, a group for each face."""

NOTHING = "nothing"
"""What answers where there is no page."""

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")

_NO_PAGE = "There is no such page: go on from the menu."

HERE = FilePath(__file__).parent
ORIGINAL = "/original/"
"""Stands in the names of templates of this package by which they are found though an application overrides them."""


class AdminBlueprint(Blueprint):
    """The blueprint; its templates can be overridden, and the original ones extended.

    An application's ``templates/statemanager_admin/state.html`` goes before the one of this package, and may begin with
    ``{% extends "statemanager_admin/original/state.html" %}``.
    """

    @cached_property
    def jinja_loader(self) -> BaseLoader:
        """Where the templates are found."""
        own = FileSystemLoader(HERE / "templates")
        originals = FileSystemLoader(HERE / "templates" / FOLDER)
        return ChoiceLoader([PrefixLoader({FOLDER: originals}, delimiter=ORIGINAL), own])


def mount(app: Flask, runtime: Runtime) -> None:
    """Have an app answer at ``STATEMANAGER_ADMIN_PREFIX``.

    :param app: the app.
    :param runtime: its running parts.
    :raises ConfigurationError: when the app has a blueprint of this name already, or a page cannot be mounted.
    """
    if BLUEPRINT in app.blueprints:
        raise ConfigurationError(f"The app has a blueprint {BLUEPRINT!r} already: give yours another name.")
    groups = groups_of(runtime.settings)
    _check_names(groups)
    frame = Frame(runtime, groups)
    app.register_blueprint(_blueprint(runtime, frame, groups))
    app.before_request(_routing_problems(runtime.settings.admin_prefix, frame))


def groups_of(settings: Settings) -> list[Pages]:
    """Return all pages of an app, those of the application's own among them, in the order of the navigation.

    :param settings: the app's settings.
    :raises ConfigurationError: when one of its own is not there.
    """
    return sorted((*GROUPS, *map(_own, settings.admin_pages)), key=lambda pages: pages.order)


def _own(given: Any) -> Pages:
    """Return pages of the application's, imported where they are named."""
    found = given
    if isinstance(given, str):
        module, _mark, name = given.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"STATEMANAGER_ADMIN_PAGES names {given!r}, which is not there: {error}."
            ) from error
    if not isinstance(found, Pages):
        raise ConfigurationError(
            f"STATEMANAGER_ADMIN_PAGES has {given!r}, which is no Pages: make one with Pages(...)."
        )
    return found


def _check_names(groups: Iterable[Pages]) -> None:
    names = Counter(each.name for pages in groups for each in (*pages, pages.entry))
    entries = {pages.entry.name for pages in groups}
    twice = sorted(
        name for name, number in names.items() if number - (name in entries) > 1 or name in ("static", NOTHING)
    )
    if twice:
        raise ConfigurationError(f"Several admin pages or acts are called {', '.join(twice)}: give each its own name.")


def _blueprint(runtime: Runtime, frame: Frame, groups: Iterable[Pages]) -> Blueprint:
    prefix = runtime.settings.admin_prefix
    blueprint = AdminBlueprint(BLUEPRINT, __name__, url_prefix=prefix, static_folder="static")
    blueprint.before_request(_admitting(frame))
    for pages in groups:
        for each in pages:
            blueprint.add_url_rule(
                each.rule,
                each.name,
                _function(frame, each),
                methods=["POST" if isinstance(each, Act) else "GET"],
                provide_automatic_options=False,
                merge_slashes=False,
                strict_slashes=each.rule != "/",
            )
    live.Stream(runtime).add_to(blueprint)
    # Where nothing is, the application's hooks have to find out who asks before it is said, as everywhere else.
    for rule in ("/", "/<path:_path>"):
        blueprint.add_url_rule(
            rule, NOTHING, _nothing, methods=METHODS, merge_slashes=False, strict_slashes=rule != "/"
        )
    blueprint.register_error_handler(StateManagerError, frame.error)
    blueprint.register_error_handler(HTTPException, frame.error)
    blueprint.register_error_handler(Exception, _unexpected)
    for status in default_exceptions:
        # An app's page for a status goes before what is registered for all of them.
        blueprint.register_error_handler(status, frame.error)
    return blueprint


def _function(frame: Frame, each: Page | Act) -> Callable[..., Response]:
    def answer(**arguments: str) -> Response:
        return frame.act(each, arguments) if isinstance(each, Act) else frame.show(each, arguments)

    return answer


def _admitting(frame: Frame) -> Callable[[], Response | None]:
    def admit() -> Response | None:
        # The stylesheet and the script tell nothing, and the page for whoever is not let in needs them.
        return None if request.endpoint == f"{BLUEPRINT}.static" else frame.admit()

    return admit


def _unexpected(error: Exception) -> Response:
    """Leave an error to Flask, which logs it, and to the page for the status 500 instead of the application's own."""
    raise error


def _nothing(_path: str = "") -> Response:
    """Answer at a path where nothing is, or nothing for this method."""
    adapter = current_app.create_url_adapter(request)
    assert adapter is not None, "a request is answered"
    known = {method for method in METHODS if _endpoint(adapter, method) != f"{BLUEPRINT}.{NOTHING}"}
    if known:
        raise MethodNotAllowed(sorted(known))
    raise NotFound(_NO_PAGE)


def _endpoint(adapter: MapAdapter, method: str) -> object:
    return adapter.match(method=method)[0]


def _routing_problems(prefix: str, frame: Frame) -> Callable[[], Response | None]:
    """Return what answers below the prefix to what not even the blueprint's last rule takes, such as ``//``."""

    def answer() -> Response | None:
        error = request.routing_exception
        if error is None or not (request.path == prefix or request.path.startswith(f"{prefix}/")):
            return None
        if error.code is None or error.code < 400:
            return None
        closed = frame.admit()
        if closed is not None:
            return closed
        return frame.error(NotFound(_NO_PAGE) if error.code == NotFound.code else error)

    return answer
