"""``flask state kv``: keys and values."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from ..core.clock import iso
from ..core.record import Change
from ..errors import StateNotFound
from ..globals import current_runtime
from ..kv.event import KeyEvent
from ..kv.parts import MAX_PAGE
from ..stores.past import changes
from .completing import KEY
from .effects import sheet_of
from .feed import Feed
from .kv_leases import lease
from .kv_options import bucket as in_bucket
from .kv_options import compact, fields_of, given, reveal, shown_value, store_of
from .kv_writes import cas, create, increment, metadata, patch, remove, remove_prefix, set_many, set_value
from .options import as_json, tabular
from .options import limit as limited
from .tables import Column, document, moment, say, table
from .watch import Manner, Wanted, followed, tail

_HISTORY = (
    Column("VERSION", right=True, firm=True),
    Column("WHEN (UTC)", firm=True),
    Column("EVENT", firm=True),
    Column("ACTOR"),
    Column("VALUE"),
)


@click.group()
def kv() -> None:
    """Look at keys and values, and change them."""


@kv.command()
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, type=KEY)
@in_bucket
@click.option("--default", metavar="VALUE", help="Print this where there is no such key, JSON or text.")
@reveal
@click.option("--raw", is_flag=True, help="Print a text as it is, and not as JSON.")
@with_appcontext
def get(keys: tuple[str, ...], bucket: str, default: str | None, reveal: bool, raw: bool) -> None:
    """Print the value of a KEY; of several an object by key.

    \f

    :raises StateNotFound: when there is no such key, and no default.
    """  # noqa: D301 - click ends the help at \f
    found = store_of(bucket).get_many(keys)
    missing = [key for key in keys if key not in found]
    if missing and default is None:
        raise StateNotFound(missing[0], kind="key")
    other = None if default is None else given(default, text=False)
    values = {key: shown_value(bucket, found[key], reveal) if key in found else other for key in keys}
    value = values if len(keys) > 1 else values[keys[0]]
    say(value if raw and isinstance(value, str) else document(value))


@kv.command()
@click.argument("key", metavar="KEY", type=KEY)
@in_bucket
@reveal
@as_json
@with_appcontext
def show(key: str, bucket: str, reveal: bool, as_json: bool) -> None:
    """Show a KEY with its value, metadata, version and times.

    \f

    :raises StateNotFound: when there is no such key.
    """  # noqa: D301 - click ends the help at \f
    entry = store_of(bucket).get_entry(key)
    if entry is None:
        raise StateNotFound(key, kind="key")
    found = fields_of(bucket, entry, reveal)
    say(document(found) if as_json else sheet_of(found))


@kv.command()
@click.argument("key", metavar="KEY", type=KEY)
@in_bucket
@click.pass_context
@with_appcontext
def exists(ctx: click.Context, key: str, bucket: str) -> None:
    """Tell whether there is a KEY: yes, or no and exit code 1."""
    there = store_of(bucket).exists(key)
    say("yes" if there else "no")
    if not there:
        ctx.exit(1)


@kv.command()
@click.argument("prefix", metavar="[PREFIX]", default="", type=KEY)
@in_bucket
@limited(MAX_PAGE, 1000, what="The most keys to print.")
@click.option("--after", metavar="KEY", help="Go on behind this key.")
@as_json
@with_appcontext
def keys(prefix: str, bucket: str, limit: int, after: str | None, as_json: bool) -> None:
    """List keys, all of them or those that begin with PREFIX."""
    found = store_of(bucket).keys(prefix, min(limit + 1, MAX_PAGE), after)
    page = found[:limit]
    more = len(found) > limit
    if as_json:
        say(document({"items": page, "next": page[-1] if more else None}))
        return
    say("\n".join(page) if page else "No keys found.")
    if more:
        click.echo(f"There are more; go on with --after {page[-1]}", err=True)


@kv.command()
@click.argument("prefix", metavar="[PREFIX]", default="", type=KEY)
@in_bucket
@as_json
@with_appcontext
def count(prefix: str, bucket: str, as_json: bool) -> None:
    """Count keys, all of them or those that begin with PREFIX."""
    number = store_of(bucket).count(prefix)
    say(document({"count": number}) if as_json else f"{number:,}")


@kv.command()
@in_bucket
@as_json
@with_appcontext
def stats(bucket: str, as_json: bool) -> None:
    """Tell how many keys there are, and how large."""
    found = store_of(bucket).stats()
    say(document(found) if as_json else sheet_of(found))


@kv.command()
@click.argument("key", metavar="KEY", type=KEY)
@in_bucket
@limited(10_000, what="The most changes to print, the newest ones.")
@reveal
@tabular
@with_appcontext
def history(key: str, bucket: str, limit: int, reveal: bool, as_json: bool) -> None:
    """List the changes of a KEY, as far as they are kept.

    \f

    :raises StateNotFound: when nothing is known of it.
    """  # noqa: D301 - click ends the help at \f
    parts = current_runtime.shelves.parts(bucket)
    found = changes(parts, parts.key(key).name, limit)[::-1]
    if not found:
        raise StateNotFound(key, kind="key")
    told = [_told(change, bucket, reveal) for change in found]
    if as_json:
        say(document({"items": told}))
    else:
        say(table(_HISTORY, [_row(each) for each in told]))


@kv.command()
@click.argument("prefix", metavar="[PREFIX]", default="", type=KEY)
@in_bucket
@followed
@with_appcontext
def watch(
    *,
    prefix: str,
    bucket: str,
    since: str | None,
    timeout: float | None,
    limit: int | None,
    diff: bool,
    as_json: bool,
) -> None:
    """Tell of changes of keys as they happen.

    As 'flask state watch' does, which tells of states and all buckets.
    """
    current_runtime.shelves.parts(bucket)
    tail(Feed(current_runtime, [bucket], since, timeout), Wanted(prefix), Manner(as_json, diff, limit))


def _told(change: Change, bucket: str, reveal: bool) -> dict[str, object]:
    event = KeyEvent.of(change, "")
    return {
        "version": event.version,
        "at": iso(change.at),
        "event": event.event,
        "actor": event.actor,
        "source": event.source,
        "reason": change.reason,
        "exists": event.exists,
        "value": shown_value(bucket, event.new_value, reveal),
    }


def _row(told: dict[str, object]) -> tuple[object, ...]:
    value = compact(told["value"]) if told["exists"] else ""
    return told["version"], moment(str(told["at"])), told["event"], told["actor"], value


for _command in (set_value, create, set_many, cas, increment, patch, metadata, remove, remove_prefix, lease):
    kv.add_command(_command)
