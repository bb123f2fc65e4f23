"""``flask state stores``: the stores of user interfaces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import unquote

import click
from flask.cli import with_appcontext

from ..core.buckets import KEPT_STORES, STORES
from ..core.clock import iso
from ..errors import ConfigurationError, StateNotFound
from ..kv.store import KeyValueStore
from ..kv.value import KeyValue
from ..stores.entry import StoreEntry
from ..stores.manager import StateManager
from ..stores.names import checked, names_of, prefixes
from ..stores.opened import present_stores
from ..stores.sentinels import CLIENT_MANAGED, NO_UPDATE
from ..stores.server import SERVERS, ServerStateBackend
from .arguments import json_object
from .effects import counted, sheet_of
from .kv_options import VALUE_SHAPE, as_text, given
from .options import SHAPE, as_json, expect, tabular, ttl, yes
from .options import limit as limited
from .store_changes import changes
from .tables import Column, document, moment, printable, say, table

_COLUMNS = (
    Column("USER"),
    Column("STORE", firm=True),
    Column("VERSION", right=True, firm=True),
    Column("BYTES", right=True),
    Column("UPDATED (UTC)", firm=True),
    Column("UNTIL (UTC)"),
)
_PAGE = 500
_store = click.argument("store_id", metavar="STORE")
_user = click.option("--user", metavar="ID", help="Whose; without it those of everybody, where users have none.")


@click.group()
def stores() -> None:
    """Look at stores of user interfaces, and change or clear them."""


@stores.command("list")
@click.option("--user", metavar="ID", help="Only the stores of this user.")
@limited(10_000, what="The most stores to print.")
@tabular
@with_appcontext
def list_stores(user: str | None, limit: int, as_json: bool) -> None:
    """List stores, by user; a long name is shown by its hash."""
    server = _server()
    found = [_listed(server, entry) for entry in islice(_entries(server, user), limit)]
    if as_json:
        say(document({"items": found}))
    elif found:
        say(table(_COLUMNS, [_row(each) for each in found]))
    else:
        say("No stores found.")


@stores.command()
@_store
@_user
@with_appcontext
def get(store_id: str, user: str | None) -> None:
    """Print the value of a STORE as JSON.

    \f

    :raises StateNotFound: when there is none.
    :raises click.ClickException: when the browser keeps it.
    """  # noqa: D301 - click ends the help at \f
    found = StateManager().get_store_data(store_id, _ABSENT, user)
    if found is CLIENT_MANAGED:
        raise click.ClickException(
            "The browser keeps this value: STATEMANAGER_STORES_BACKEND is 'client', or STATEMANAGER_STORES_ROLLOUT "
            "leaves the store with this user's browser."
        )
    if found is _ABSENT:
        raise StateNotFound(store_id, kind="key")
    say(_written(found))


@stores.command()
@_store
@_user
@as_json
@with_appcontext
def show(store_id: str, user: str | None, as_json: bool) -> None:
    """Show a STORE with its value, version and times.

    \f

    :raises StateNotFound: when there is none.
    """  # noqa: D301 - click ends the help at \f
    entry = StateManager().get_store_entry(store_id, user)
    if entry is None:
        raise StateNotFound(store_id, kind="key")
    found = _fields(entry)
    say(_written(found) if as_json else sheet_of(found | {"value": json.loads(_written(entry.value))}))


@stores.command()
@_store
@_user
@click.pass_context
@with_appcontext
def exists(ctx: click.Context, store_id: str, user: str | None) -> None:
    """Tell whether the server keeps a STORE.

    It says yes, or no and exits with 1.
    """
    there = StateManager().store_exists(store_id, user)
    say("yes" if there else "no")
    if not there:
        ctx.exit(1)


@stores.command("set")
@_store
@click.argument("value", metavar=VALUE_SHAPE)
@_user
@ttl
@as_text
@expect
@with_appcontext
def set_store(
    *, store_id: str, value: str, user: str | None, ttl: float | None, as_text: bool, expect: int | None
) -> None:
    """Keep a value in a STORE, JSON or else text.

    \f

    :raises click.ClickException: when the browser keeps it.
    """  # noqa: D301 - click ends the help at \f
    _server()
    if StateManager().set_store_data(store_id, given(value, text=as_text), ttl, user, expect=expect) is not NO_UPDATE:
        raise click.ClickException(
            f"The browser of this user keeps {store_id!r} still: STATEMANAGER_STORES_ROLLOUT says for whom the server "
            "keeps it."
        )
    say(f"{printable(store_id)}: kept")


@stores.command()
@_store
@click.argument("members", metavar=SHAPE, callback=json_object)
@_user
@ttl
@with_appcontext
def patch(*, store_id: str, members: dict[str, Any], user: str | None, ttl: float | None) -> None:
    """Change members of the object in a STORE; null removes one."""
    say(_written(StateManager().update_store_data(store_id, members, ttl, user)))


@stores.command()
@_store
@_user
@yes
@with_appcontext
def delete(store_id: str, user: str | None, yes: bool) -> None:
    """Remove the value of a STORE.

    \f

    :raises StateNotFound: when there is none.
    """  # noqa: D301 - click ends the help at \f
    if not yes:
        click.confirm(f"Remove the store {printable(store_id)}?", abort=True)
    if not StateManager().delete_store_data(store_id, user):
        raise StateNotFound(store_id, kind="key")
    say(f"{printable(store_id)}: removed")


@stores.command()
@_store
@_user
@limited(1000, 20, what="The most values to print.")
@as_json
@with_appcontext
def history(store_id: str, user: str | None, limit: int, as_json: bool) -> None:
    """List the values that a STORE had, the present one first.

    Those of STATEMANAGER_STORES_HISTORY keep them.
    """
    found = [_fields(each) for each in StateManager().get_store_history(store_id, limit, user)]
    if as_json:
        say(_written({"items": found}))
        return
    columns = (Column("VERSION", right=True, firm=True), Column("WHEN (UTC)", firm=True), Column("VALUE"))
    rows = [(each["version"], moment(each["updated_at"]), json.dumps(each["value"], default=str)) for each in found]
    say(table(columns, rows))


@stores.command()
@_store
@_user
@with_appcontext
def undo(store_id: str, user: str | None) -> None:
    """Give a STORE the value that it had before its last change."""
    say(_written(StateManager().undo(store_id, user)))


@stores.command("clear-user")
@click.argument("user", metavar="ID")
@yes
@with_appcontext
def clear_user(user: str, yes: bool) -> None:
    """Remove all stores of a user for good.

    With what is left of earlier ones.
    """
    if not yes:
        click.confirm(f"Remove all stores of {printable(user)}, for good?", abort=True)
    say(f"{counted(StateManager().clear_user_data(user), 'store')} removed.")


@stores.command()
@as_json
@with_appcontext
def stats(as_json: bool) -> None:
    """Tell how much is kept, and where."""
    found = StateManager().get_backend_stats()
    say(document(found) if as_json else sheet_of(found))


@stores.command()
@click.argument("backend", type=click.Choice(sorted(SERVERS)))
@yes
@with_appcontext
def migrate(backend: str, yes: bool) -> None:
    """Carry the values of all users to another backend.

    Have STATEMANAGER_STORES_BACKEND say the same behind that: this command
    carries, and the application goes by its configuration. Values in memory
    are those of this command, and there are none.
    """
    now = present_stores().kind
    if not yes:
        click.confirm(f"Carry all stores from {now} to {backend}?", abort=True)
    number = StateManager().migrate_to_server_backend(backend)
    say(f"{counted(number, 'store')} carried; set STATEMANAGER_STORES_BACKEND = '{backend}' now.")


_ABSENT: Any = object()


def _server() -> ServerStateBackend:
    found = present_stores().server
    if found is None:
        raise ConfigurationError(
            "The browser keeps the stores: set STATEMANAGER_STORES_BACKEND to 'database' or 'redis' to keep them here."
        )
    return found


def _entries(server: ServerStateBackend, user: str | None) -> Iterator[KeyValue]:
    begins = prefixes(server.config.key_prefix)
    if user is not None:
        begins = (names_of(server.config.key_prefix, checked(user, "user_id")), "")
    for bucket in (STORES, KEPT_STORES):
        kv = KeyValueStore(lambda bucket=bucket: server.parts(bucket))  # type: ignore[misc]
        for prefix in filter(None, begins):
            yield from _beginning(kv, prefix)


def _beginning(kv: KeyValueStore, prefix: str) -> Iterator[KeyValue]:
    after = None
    while names := kv.keys(prefix, _PAGE, after):
        after = names[-1]
        yield from (entry for entry in map(kv.get_entry, names) if entry is not None)


def _listed(server: ServerStateBackend, entry: KeyValue) -> dict[str, Any]:
    everybodys, users = prefixes(server.config.key_prefix)
    rest = entry.key.removeprefix(everybodys).removeprefix(users)
    owner, _, name = rest.rpartition("s:") if entry.key.startswith(everybodys) else rest.partition("/s:")
    packed = entry.value if isinstance(entry.value, dict) else {}
    return {
        "user": None if entry.key.startswith(everybodys) else _plain(owner),
        "store": _plain(name),
        "version": entry.version,
        "bytes": packed.get("size"),
        "updated_at": iso(entry.updated_at),
        "expires_at": None if entry.expires_at is None else iso(entry.expires_at),
    }


def _plain(part: str) -> str:
    """Read a part of a name; one that was too long to stand there keeps its hash."""
    return part if "~h" in part else unquote(part.replace("~", "%"))


def _row(found: dict[str, Any]) -> tuple[object, ...]:
    return (
        found["user"],
        found["store"],
        found["version"],
        found["bytes"],
        moment(found["updated_at"]),
        moment(found["expires_at"]),
    )


def _fields(entry: StoreEntry) -> dict[str, Any]:
    return {
        "store_id": entry.store_id,
        "value": entry.value,
        "version": entry.version,
        "updated_at": iso(entry.updated_at),
        "expires_at": None if entry.expires_at is None else iso(entry.expires_at),
    }


def _written(value: Any) -> str:
    """Write a value as JSON; what JSON does not know, such as a Decimal, as its text."""
    return json.dumps(value, indent=2, default=str).replace("\x7f", "\\u007f")


stores.add_command(changes)
