"""The commands that write keys and values."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import with_appcontext

from ..errors import StateNotFound
from ..kv.lifetime import Ttl
from ..kv.value import KEEP
from .arguments import json_object
from .completing import KEY
from .effects import counted
from .exits import REFUSED
from .kv_options import VALUE_SHAPE, as_text, given, no_ttl, store_of, tell
from .kv_options import bucket as in_bucket
from .options import SHAPE, expect, reason, ttl, yes
from .tables import document, printable, say

_key = click.argument("key", metavar="KEY", type=KEY)
_value = click.argument("value", metavar=VALUE_SHAPE)
_with_metadata = click.option("--metadata", callback=json_object, metavar=SHAPE, help="What to note about it.")


@click.command("set")
@_key
@_value
@in_bucket
@_with_metadata
@ttl
@no_ttl
@as_text
@expect
@reason
@with_appcontext
def set_value(
    *,
    key: str,
    value: str,
    bucket: str,
    metadata: dict[str, Any] | None,
    ttl: float | None,
    no_ttl: bool,
    as_text: bool,
    expect: int | None,
    reason: str | None,
) -> None:
    """Give a KEY a value, JSON or else text.

    Its metadata and its time to live stay as they are where no option says
    otherwise.
    """
    noted = KEEP if metadata is None else metadata
    lives = _lifetime(ttl, no_ttl)
    tell(store_of(bucket).set(key, given(value, text=as_text), metadata=noted, ttl=lives, expect=expect, reason=reason))


@click.command()
@_key
@_value
@in_bucket
@_with_metadata
@ttl
@as_text
@reason
@with_appcontext
def create(
    *,
    key: str,
    value: str,
    bucket: str,
    metadata: dict[str, Any] | None,
    ttl: float | None,
    as_text: bool,
    reason: str | None,
) -> None:
    """Give a KEY a value if there is no such key."""
    noted = KEEP if metadata is None else metadata
    lives = _lifetime(ttl, False)
    tell(store_of(bucket).create(key, given(value, text=as_text), metadata=noted, ttl=lives, reason=reason))


@click.command("set-many")
@click.argument("values", metavar=SHAPE, callback=json_object)
@in_bucket
@ttl
@reason
@with_appcontext
def set_many(*, values: dict[str, Any], bucket: str, ttl: float | None, reason: str | None) -> None:
    """Give keys their values, all of them or none.

    They are given as a JSON object by key.
    """
    store_of(bucket).set_many(values, ttl=_lifetime(ttl, False), reason=reason)
    say(f"{counted(len(values), 'key')} set.")


@click.command()
@_key
@click.argument("expected", metavar="EXPECTED")
@click.argument("new", metavar="NEW")
@in_bucket
@ttl
@as_text
@reason
@click.pass_context
@with_appcontext
def cas(
    ctx: click.Context,
    *,
    key: str,
    expected: str,
    new: str,
    bucket: str,
    ttl: float | None,
    as_text: bool,
    reason: str | None,
) -> None:
    """Put NEW in place of EXPECTED, if that is there.

    Both are JSON, or else text; null stands for no such key. Exit code 1 says
    that another value is there.
    """
    before, after = given(expected, text=as_text), given(new, text=as_text)
    if store_of(bucket).compare_and_swap(key, before, after, ttl=_lifetime(ttl, False), reason=reason):
        say(f"{printable(key)}: swapped")
        return
    click.echo(f"{printable(key)}: another value is there", err=True)
    ctx.exit(REFUSED)


@click.command()
@_key
@click.option("--by", default="1", show_default=True, metavar="NUMBER", help="What to add, also below 0.")
@in_bucket
@ttl
@reason
@with_appcontext
def increment(*, key: str, by: str, bucket: str, ttl: float | None, reason: str | None) -> None:
    """Add to the number that a KEY holds, and print the sum."""
    number: Any = given(by, text=False)
    say(document(store_of(bucket).increment(key, number, ttl=_lifetime(ttl, False), reason=reason)))


@click.command()
@_key
@click.argument("changes", metavar=SHAPE, callback=json_object)
@in_bucket
@with_appcontext
def patch(*, key: str, changes: dict[str, Any], bucket: str) -> None:
    """Change members of the object that a KEY holds.

    A JSON Merge Patch (RFC 7396): null removes a member. A key that is
    not there begins empty.
    """
    say(document(store_of(bucket).document(key).update(changes)))


@click.command()
@_key
@click.argument("noted", metavar=f"[{SHAPE}]", required=False, callback=json_object)
@click.option("--clear", is_flag=True, help="Forget what is noted.")
@in_bucket
@expect
@reason
@with_appcontext
def metadata(
    *, key: str, noted: dict[str, Any] | None, clear: bool, bucket: str, expect: int | None, reason: str | None
) -> None:
    """Show what is noted about a KEY, or note something else.

    \f

    :raises StateNotFound: when there is no such key.
    :raises click.UsageError: when it is to be noted and forgotten.
    """  # noqa: D301 - click ends the help at \f
    store = store_of(bucket)
    if noted is not None and clear:
        raise click.UsageError("Give either what to note, or --clear.")
    if noted is not None or clear:
        tell(store.set_metadata(key, noted, expect=expect, reason=reason))
        return
    found = store.get_metadata(key)
    if found is None:
        raise StateNotFound(key, kind="key")
    say(document(found))


@click.command()
@_key
@in_bucket
@expect
@reason
@yes
@with_appcontext
def remove(*, key: str, bucket: str, expect: int | None, reason: str | None, yes: bool) -> None:
    """Remove a KEY.

    \f

    :raises StateNotFound: when there is no such key.
    """  # noqa: D301 - click ends the help at \f
    store = store_of(bucket)
    if not yes:
        entry = store.get_entry(key)
        if entry is None:
            raise StateNotFound(key, kind="key")
        click.confirm(f"Remove {printable(key)} (version {entry.version})?", abort=True)
        expect = entry.version if expect is None else expect
    if not store.remove(key, expect=expect, reason=reason):
        raise StateNotFound(key, kind="key")
    say(f"{printable(key)}: removed")


@click.command("remove-prefix")
@click.argument("prefix", metavar="PREFIX", type=KEY)
@in_bucket
@reason
@yes
@with_appcontext
def remove_prefix(*, prefix: str, bucket: str, reason: str | None, yes: bool) -> None:
    """Remove all keys that begin with PREFIX."""
    store = store_of(bucket)
    if not yes:
        number = counted(store.count(prefix), "key")
        click.confirm(f"Remove {number} that begin with {printable(prefix)!r}?", abort=True)
    say(f"{counted(store.remove_prefix(prefix, reason=reason), 'key')} removed.")


def _lifetime(ttl: float | None, never: bool) -> Ttl:
    if ttl is not None and never:
        raise click.UsageError("Give either --ttl or --no-ttl.")
    return None if never else KEEP if ttl is None else ttl
