"""``flask state tracking``: which requests there were, and which users are there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import unquote

import click
from flask.cli import with_appcontext

from ..errors import ConfigurationError
from ..globals import current_runtime
from ..kv.store import KeyValueStore
from ..tracking.rules import COMPLETION
from .kv_options import store_of
from .options import limit as limited
from .options import tabular, yes
from .tables import Column, document, moment, printable, say, table

_SESSIONS = (
    Column("USER", firm=True),
    Column("ACTIVE", firm=True),
    Column("LAST SEEN (UTC)", firm=True),
    Column("LAST REQUEST (UTC)"),
    Column("CORRELATION ID"),
)
_REQUESTS = (
    Column("BEGUN (UTC)", firm=True),
    Column("METHOD", firm=True),
    Column("STATUS", right=True, firm=True),
    Column("MS", right=True, firm=True),
    Column("URI"),
    Column("CORRELATION ID"),
)
_PAGE = 500
_MOST_READ = 10_000
"""How many notes are read at most to find the newest of them."""


@click.group()
def tracking() -> None:
    """Look at requests and sessions that are tracked."""


@tracking.command()
@click.option("--active", is_flag=True, help="Only those that are not logged out.")
@limited(_MOST_READ, what="The most sessions to print.")
@tabular
@with_appcontext
def sessions(active: bool, limit: int, as_json: bool) -> None:
    """List the users who were there, those seen last first."""
    prefix = current_runtime.settings.session_prefix
    found = [_session(name.removeprefix(prefix), note) for name, note in _notes(prefix)]
    found = [each for each in found if each["active"] or not active]
    found.sort(key=lambda each: str(each["last_heartbeat"]), reverse=True)
    _print(found[:limit], as_json, _SESSIONS, _session_row, "No sessions found.")


@tracking.command()
@click.option("--status", type=click.IntRange(100, 599), metavar="CODE", help="Only those that were answered so.")
@limited(_MOST_READ, what="The most requests to print.")
@tabular
@with_appcontext
def requests(status: int | None, limit: int, as_json: bool) -> None:
    """List the requests that are still noted, newest first."""
    prefix = current_runtime.settings.request_prefix
    notes = dict(_notes(prefix))
    found = [
        {"correlation_id": name.removeprefix(prefix), **note, **notes.get(f"{name}{COMPLETION}", {})}
        for name, note in notes.items()
        if not name.endswith(COMPLETION)
    ]
    found = [each for each in found if status in (None, each.get("status"))]
    found.sort(key=lambda each: str(each.get("started_at")), reverse=True)
    _print(found[:limit], as_json, _REQUESTS, _request_row, "No requests found.")


@tracking.command()
@click.argument("correlation_id", metavar="ID")
@with_appcontext
def request(correlation_id: str) -> None:
    """Show what is noted of one request, as JSON.

    \f

    :raises click.ClickException: when nothing is.
    """  # noqa: D301 - click ends the help at \f
    key = f"{current_runtime.settings.request_prefix}{correlation_id}"
    found = _store().get_many([key, f"{key}{COMPLETION}"])
    if key not in found:
        raise click.ClickException(f"Nothing is noted, or any more, of the request {printable(correlation_id)!r}.")
    say(document({"correlation_id": correlation_id, **_object(found[key]), **_object(found.get(f"{key}{COMPLETION}"))}))


@tracking.command("end-session")
@click.argument("user", metavar="USER")
@yes
@with_appcontext
def end_session(user: str, yes: bool) -> None:
    """Note that a USER has logged out.

    It is a note only: whoever keeps the login has to end that.

    \f

    :raises click.ClickException: when it could not be written in time.
    """  # noqa: D301 - click ends the help at \f
    _store()
    if not yes:
        click.confirm(f"Note that {printable(user)} has logged out?", abort=True)
    tracked = current_runtime.tracking
    tracked.end_session(user)
    if not tracked.flush():
        raise click.ClickException("It could not be written in time; the log says why.")
    say(f"{printable(user)}: logged out")


def _store() -> KeyValueStore:
    if not current_runtime.tracking.enabled:
        raise ConfigurationError("Nothing is tracked: set STATEMANAGER_TRACK_REQUESTS = True.")
    return store_of(current_runtime.settings.track_bucket)


def _notes(prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    return islice(_all(_store(), prefix), 2 * _MOST_READ)


def _all(store: KeyValueStore, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    after = None
    while names := store.keys(prefix, _PAGE, after):
        after = names[-1]
        yield from ((name, _object(value)) for name, value in store.get_many(names).items())


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _session(quoted: str, note: dict[str, Any]) -> dict[str, Any]:
    known = {name: note.get(name) for name in ("active", "last_heartbeat", "last_request", "correlation_id")}
    return {"user": unquote(quoted.replace("=", "%")), **known}


def _print(found: list[dict[str, Any]], as_json: bool, columns: tuple[Column, ...], row: Any, empty: str) -> None:
    if as_json:
        say(document({"items": found}))
    elif found:
        say(table(columns, [row(each) for each in found]))
    else:
        say(empty)


def _session_row(found: dict[str, Any]) -> tuple[object, ...]:
    seen, asked = moment(found["last_heartbeat"]), moment(found["last_request"])
    return found["user"], "yes" if found["active"] else "no", seen, asked, found["correlation_id"]


def _request_row(found: dict[str, Any]) -> tuple[object, ...]:
    told = (found.get(name) for name in ("method", "status", "duration_ms", "uri", "correlation_id"))
    return moment(found.get("started_at")), *told
