"""Completion: what the shell offers for a word, from the declarations of the application and from its store.

It never fails and never takes long: whatever goes wrong, nothing is offered.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from itertools import islice
from typing import Any

import click
from click.shell_completion import CompletionItem
from flask import Flask
from flask.cli import ScriptInfo

from ..core.lists import Lists, Span
from ..core.ports import Backend
from ..globals import current_runtime
from ..lifecycle.parts import BUCKET

MOST = 50
"""The most words that are offered."""

PATIENCE = 3.0
"""Seconds after which nothing is offered any more; loading the application counts."""

Given = dict[str, Any]
"""What the command line has said so far, by the names of its parameters."""

Find = Callable[[Given, str], Iterable[str]]
"""Takes what was said so far, and how the word begins; yields words, others too. Called in the app's context."""


class Offered(click.ParamType):  # type: ignore[type-arg]
    """Text for which the shell offers words.

    :param name: what the text is.
    :param find: finds the words.
    """

    def __init__(self, name: str, find: Find) -> None:
        self.name = name
        self._find = find

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the words that begin like the given one.

        :param ctx: click's context.
        :param param: the parameter.
        :param incomplete: how the word begins.
        """
        info = ctx.find_object(ScriptInfo)
        if info is None:
            return []
        return [CompletionItem(word) for word in _found(info.load_app, self._find, dict(ctx.params), incomplete)]


def _found(load: Callable[[], Flask], find: Find, given: Given, incomplete: str) -> list[str]:
    """Return words, found in a thread that nobody waits for too long; what it prints is not shown."""
    words: list[str] = []

    def look() -> None:
        try:
            with load().app_context():
                found = (word for word in find(given, incomplete) if word.startswith(incomplete) and word.isprintable())
                words.extend(islice(found, MOST))
        except BaseException:  # noqa: BLE001 - a traceback would land in the middle of what is being typed
            words.clear()

    thread = threading.Thread(target=look, name="statemanager: completion", daemon=True)
    silence = io.StringIO()
    before = logging.root.manager.disable
    logging.disable()
    try:
        with redirect_stdout(silence), redirect_stderr(silence):
            thread.start()
            thread.join(PATIENCE)
    finally:
        logging.disable(before)
    return [] if thread.is_alive() else list(words)


def _types(_given: Given, _incomplete: str) -> Iterable[str]:
    return sorted(current_runtime.declarations.definitions.types)


def _statuses(given: Given, _incomplete: str) -> Iterable[str]:
    types = current_runtime.declarations.definitions.types
    wanted = types.get(given.get("state_type") or "")
    machines = [each.machine for each in ([wanted] if wanted else types.values())]
    return sorted({status for machine in machines for status in machine.statuses})


def _state_ids(_given: Given, incomplete: str) -> Iterable[str]:
    bucket = current_runtime.bucket
    return _names(bucket.backend, bucket.name, incomplete)


def _transitions(given: Given, _incomplete: str) -> Iterable[str]:
    """Offer what the state allows that is named already, else what any machine has."""
    definitions = current_runtime.declarations.definitions
    state_id = given.get("state_id") or next(iter(given.get("words") or ()), None)
    found = None if state_id is None else current_runtime.lifecycle.get_state(state_id)
    if found is not None:
        return definitions.get(found.type).machine.allowed(found.status)
    return sorted({name for each in definitions.types.values() for _, name, _ in each.machine.edges()})


def _words(given: Given, incomplete: str) -> Iterable[str]:
    """Offer an id for the first word of 'transition', and what the state allows for the second."""
    selected = any(given.get(name) for name in ("filters", "state_type", "status"))
    if given.get("words") or selected:
        return _transitions(given, incomplete)
    return _state_ids(given, incomplete)


def _buckets(_given: Given, _incomplete: str) -> Iterable[str]:
    return sorted((BUCKET, *current_runtime.declarations.buckets.buckets))


def _keys(given: Given, incomplete: str) -> Iterable[str]:
    bucket = current_runtime.bucket_named(given.get("bucket") or "kv")
    return _names(bucket.backend, bucket.name, incomplete)


def _snapshots(_given: Given, _incomplete: str) -> Iterable[str]:
    return [each.id for each in current_runtime.snapshots.list_snapshots()][::-1]


def _flows(_given: Given, _incomplete: str) -> Iterable[str]:
    return sorted(current_runtime.declarations.flows.registry.flows)


def _names(backend: Backend, bucket: str, prefix: str) -> Iterable[str]:
    if not isinstance(backend, Lists):
        return ()
    with backend.reading() as unit:
        return backend.listed(unit, Span(bucket, current_runtime.declarations.clock.now(), prefix, None, MOST))


TYPE = Offered("type", _types)
STATUS = Offered("status", _statuses)
STATE_ID = Offered("id", _state_ids)
TRANSITION = Offered("transition", _transitions)
WORDS = Offered("words", _words)
BUCKET_NAME = Offered("bucket", _buckets)
KEY = Offered("key", _keys)
SNAPSHOT = Offered("snapshot", _snapshots)
FLOW = Offered("flow", _flows)
