"""``flask state kv lease``: leases on keys, for scripts that must not run twice at once."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from ..errors import StateConflict, StateNotFound
from ..kv.value import KeyValue
from .completing import KEY
from .exits import REFUSED
from .kv_options import bucket as in_bucket
from .kv_options import fields_of, store_of
from .options import as_json, yes
from .tables import document, moment, printable, say

_key = click.argument("key", metavar="KEY", type=KEY)
_ttl = click.option(
    "--ttl",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long it is held from now on.",
)
_version = click.option(
    "--version", "version", type=click.IntRange(1), required=True, help="The version that taking or renewing printed."
)


@click.group()
def lease() -> None:
    """Take, renew and give up leases: one holder at a time."""


@lease.command()
@_key
@in_bucket
@_ttl
@click.option("--holder", help="Who is to hold it; a random name by default.")
@as_json
@click.pass_context
@with_appcontext
def acquire(ctx: click.Context, *, key: str, bucket: str, ttl: float, holder: str | None, as_json: bool) -> None:
    """Take the lease KEY, unless somebody has it.

    That is exit code 1. Its version is a fencing token: it grows with every holder.
    """
    store = store_of(bucket)
    taken = store.lease(key, ttl, holder).acquire()
    found = store.get_entry(key)
    if not taken:
        click.echo(f"{printable(key)}: {_held(found)}", err=True)
        ctx.exit(REFUSED)
    _tell(bucket, found, key, as_json)


@lease.command()
@_key
@in_bucket
@_version
@_ttl
@as_json
@with_appcontext
def renew(*, key: str, bucket: str, version: int, ttl: float, as_json: bool) -> None:
    """Hold the lease KEY for longer; it gets another version.

    \f

    :raises StateNotFound: when nobody holds it any more.
    :raises StateConflict: when somebody else does.
    """  # noqa: D301 - click ends the help at \f
    store = store_of(bucket)
    found = store.get_entry(key)
    if found is None:
        raise StateNotFound(key, kind="key")
    _tell(bucket, store.set(key, found.value, ttl=ttl, expect=version), key, as_json)


@lease.command()
@_key
@in_bucket
@_version
@click.pass_context
@with_appcontext
def release(ctx: click.Context, *, key: str, bucket: str, version: int) -> None:
    """Give the lease KEY up.

    One that is lost belongs to somebody else, or nobody, and stays as it is;
    that is exit code 1.
    """
    try:
        held = store_of(bucket).remove(key, expect=version)
    except StateConflict:
        held = False
    if held:
        say(f"{printable(key)}: given up")
        return
    click.echo(f"{printable(key)}: it had been lost", err=True)
    ctx.exit(REFUSED)


@lease.command()
@_key
@in_bucket
@as_json
@with_appcontext
def show(key: str, bucket: str, as_json: bool) -> None:
    """Show who holds the lease KEY."""
    _tell(bucket, store_of(bucket).get_entry(key), key, as_json)


@lease.command("break")
@_key
@in_bucket
@yes
@with_appcontext
def break_lease(key: str, bucket: str, yes: bool) -> None:
    """Take the lease KEY away from whoever holds it.

    What they write on the condition that they hold it is refused then.

    \f

    :raises StateNotFound: when nobody holds it.
    """  # noqa: D301 - click ends the help at \f
    store = store_of(bucket)
    found = store.get_entry(key)
    if found is None:
        raise StateNotFound(key, kind="key")
    if not yes:
        click.confirm(f"{printable(key)} is {_held(found)}. Take it away?", abort=True)
    store.remove(key, expect=found.version)
    say(f"{printable(key)}: nobody has it")


def _tell(bucket: str, found: KeyValue | None, key: str, as_json: bool) -> None:
    if as_json:
        say(document(None if found is None else fields_of(bucket, found, False)))
    elif found is None:
        say(f"{printable(key)}: nobody has it")
    else:
        say(f"{printable(key)}: {_held(found)}, version {found.version}")


def _held(found: KeyValue | None) -> str:
    value = None if found is None else found.value
    holder = value.get("holder") if isinstance(value, dict) else None
    until = "" if found is None or found.expires_at is None else f" until {moment(found.expires_at.isoformat())} UTC"
    return f"held by {printable(holder)}{until}" if holder else f"taken{until}"
