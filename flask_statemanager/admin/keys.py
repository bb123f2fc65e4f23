"""Keys: buckets, folders of keys, one key with what it holds and has held."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ..core.buckets import RESERVED, BucketDefinition
from ..core.looks_back import LooksBack
from ..core.powers import KeepsHistory
from ..core.query import ChangeQuery
from ..core.record import JSON, Change, Key
from ..errors import StateManagerError, StateNotFound, StateValidationError
from ..kv.parts import KvParts, check_key
from ..kv.store import KeyValueStore
from ..kv.value import KEEP, VALUE, KeyValue
from .answers import Done, Shown
from .key_browsing import Browser, counted
from .page import Pages
from .typed_json import editable, parsed, uncovered
from .visit import Visit
from .wording import NOTHING

pages = Pages("keys", "Keys", order=50)

PAST = 20
"""The most changes of a key on a page."""

SAMPLE = 10
"""How many of the keys are shown that are about to be removed."""

HOLDER = "holder"
"""What the value of a lease says."""


class BucketRow(Struct, frozen=True):
    """A bucket in the list of all.

    :param definition: how it is declared.
    :param backend: where it lies.
    :param keys: how many keys it has, up to a thousand; None where that cannot be found out.
    :param whole: whether those are all.
    :param problem: why not, where it cannot be found out.
    """

    definition: BucketDefinition
    backend: str
    keys: int | None = None
    whole: bool = True
    problem: str | None = None


class Past(Struct, frozen=True):
    """What a key has been.

    :param changes: newest first.
    :param next: below which revision the next page begins; None where there is none.
    :param kind: how much is kept: ``all``, ``some`` or ``none``.
    """

    changes: list[Change]
    next: int | None
    kind: str


# -- what there is -----------------------------------------------------------------------------------------------------


@pages.show("/keys", "keys")
def list_buckets(visit: Visit) -> Shown:
    """List the buckets.

    :param visit: the visit.
    """
    declared = visit.runtime.declarations.buckets.buckets
    rows = [_row(visit, declared[name]) for name in sorted(declared.keys() - RESERVED.keys())]
    return Shown("keys.html", {"rows": rows, "reserved": RESERVED})


def _row(visit: Visit, definition: BucketDefinition) -> BucketRow:
    try:
        parts = visit.runtime.shelves.parts(definition.name)
        keys, whole = counted(parts)
    except StateManagerError as error:
        return BucketRow(definition, definition.backend or NOTHING, problem=str(error))
    return BucketRow(parts.definition, parts.bucket.backend.title, keys, whole)


@pages.show("/keys/<bucket>", "bucket")
def browse(visit: Visit, bucket: str) -> Shown:
    """Show a folder of a bucket.

    :param visit: the visit.
    :param bucket: the bucket.
    """
    query = visit.query
    flat = query.get("flat") == "yes"
    folder = Browser(_parts(visit, bucket)).page(query.get("prefix", ""), query.get("after"), flat=flat)
    return Shown("bucket.html", {"bucket": bucket, "folder": folder, "flat": flat})


@pages.show("/keys/<bucket>/key/<path:key>", "key")
def show_key(visit: Visit, bucket: str, key: str) -> Shown:
    """Show a key: its value, its history, a form to change it.

    :param visit: the visit.
    :param bucket: the bucket.
    :param key: the key.
    :raises StateNotFound: when there is no such key, and nothing is kept of it.
    """
    parts = _parts(visit, bucket)
    entry = KeyValueStore(lambda: parts).get_entry(check_key(key))
    past = _past(parts, key, visit.query.get("before"))
    if entry is None and not past.changes:
        raise StateNotFound(key, kind="key")
    secrets = parts.definition.secrets
    shown = None if entry is None else visit.covered(entry.value, secrets)
    values = {
        "bucket": bucket,
        "key": key,
        "entry": entry,
        "shown": shown,
        "text": None if entry is None else editable(shown),
        "noted": None if entry is None else editable(visit.covered(entry.metadata)),
        "covered": entry is not None and shown != entry.value,
        "lease": entry is not None and _is_lease(entry),
        "past": past,
        "value_of": lambda record: visit.covered(record.data.get(VALUE), secrets),
        "now": parts.bucket.clock.now(),
    }
    return Shown("key.html", values)


@pages.show("/keys/<bucket>/new", "new_key")
def show_new(visit: Visit, bucket: str) -> Shown:
    """Show the form for a new key.

    :param visit: the visit.
    :param bucket: the bucket.
    """
    return Shown("key_new.html", {"bucket": bucket, "ttl": _parts(visit, bucket).definition.ttl})


@pages.show("/keys/<bucket>/removal", "removal")
def show_removal(visit: Visit, bucket: str) -> Shown:
    """Show how many keys begin alike, before they are removed.

    :param visit: the visit.
    :param bucket: the bucket.
    :raises StateValidationError: when no beginning is given.
    """
    parts, prefix = _parts(visit, bucket), visit.query.get("prefix", "")
    if not prefix:
        raise StateValidationError({"prefix": ["Say how the keys begin that are to be removed."]})
    number = KeyValueStore(lambda: parts).count(prefix)
    sample = Browser(parts).some(prefix, SAMPLE)
    return Shown("key_removal.html", {"bucket": bucket, "prefix": prefix, "number": number, "sample": sample})


# -- what can be done --------------------------------------------------------------------------------------------------


@pages.act("/keys/<bucket>/create", "create_key", page="new_key")
def create(visit: Visit, bucket: str) -> Done:
    """Make a key that is not there.

    :param visit: the visit.
    :param bucket: the bucket.
    """
    store, form = _store(visit, bucket), visit.form
    key = form.get("key", "").strip()
    metadata = _metadata(form.get("metadata", ""))
    store.create(key, parsed(form.get("value", ""), "value"), metadata=metadata, ttl=_ttl(form), **visit.writing())
    return Done(f"The key {key} was made.", visit.url("key", bucket=bucket, key=key))


@pages.act("/keys/<bucket>/set/<path:key>", "set_key", page="key")
def set_key(visit: Visit, bucket: str, key: str) -> Done:
    """Give a key another value, if nobody else has meanwhile.

    :param visit: the visit.
    :param bucket: the bucket.
    :param key: the key.
    """
    parts, form = _parts(visit, bucket), visit.form
    store = KeyValueStore(lambda: parts)
    expect = _version(form.get("expect", ""))
    value, metadata = parsed(form.get("value", ""), "value"), _metadata(form.get("metadata", ""))
    stored = store.get_entry(key)
    if stored is not None and stored.version == expect:
        shown = visit.covered(stored.value, parts.definition.secrets)
        value = uncovered(value, shown, stored.value, "value")
        if isinstance(metadata, dict):
            metadata = uncovered(metadata, visit.covered(stored.metadata), stored.metadata, "metadata")
    done = store.set(key, value, metadata=metadata, ttl=_ttl(form), expect=expect, **visit.writing())
    return Done(f"The key {key} has version {done.version} now.", visit.url("key", bucket=bucket, key=key))


@pages.act(
    "/keys/<bucket>/remove/<path:key>", "remove_key", destructive="Remove the key {key} from {bucket}?", page="key"
)
def remove(visit: Visit, bucket: str, key: str) -> Done:
    """Remove a key, if nobody has changed it meanwhile.

    :param visit: the visit.
    :param bucket: the bucket.
    :param key: the key.
    :raises StateNotFound: when somebody was faster.
    """
    expect = _version(visit.form.get("expect", ""))
    if not _store(visit, bucket).remove(key, expect=expect, **visit.writing()):
        raise StateNotFound(key, kind="key")
    return Done(f"The key {key} was removed.", visit.url("bucket", bucket=bucket))


@pages.act(
    "/keys/<bucket>/removal",
    "remove_keys",
    destructive="Remove {number} keys of {bucket}, all that begin with {prefix}?",
    page="removal",
)
def remove_prefix(visit: Visit, bucket: str) -> Done:
    """Remove the keys that begin alike, if there are no more of them than were counted.

    :param visit: the visit.
    :param bucket: the bucket.
    :raises StateValidationError: when there are more by now.
    """
    store, prefix = _store(visit, bucket), visit.form.get("prefix", "")
    most = _version(visit.form.get("number", ""), "number")
    present = store.count(prefix)
    if present > most:
        raise StateValidationError({"prefix": [f"There are {present:,} keys by now: look once more."]})
    removed = store.remove_prefix(prefix, **visit.writing())
    return Done(f"{removed:,} keys were removed.", visit.url("bucket", bucket=bucket))


@pages.act("/keys/<bucket>/reveal/<path:key>", "reveal_key", reveals="the key {key} of {bucket}", page="key")
def reveal(visit: Visit, bucket: str, key: str) -> Shown:
    """Show a key with its secrets.

    :param visit: the visit.
    :param bucket: the bucket.
    :param key: the key.
    """
    return show_key(visit, bucket, key)


# -- the parts of it ---------------------------------------------------------------------------------------------------


def _parts(visit: Visit, bucket: str) -> KvParts:
    if bucket in RESERVED:
        raise StateValidationError({"bucket": [f"{bucket} holds {RESERVED[bucket]}, which have pages of their own."]})
    return visit.runtime.shelves.parts(bucket)


def _store(visit: Visit, bucket: str) -> KeyValueStore:
    parts = _parts(visit, bucket)
    return KeyValueStore(lambda: parts)


def _past(parts: KvParts, key: str, before: str | None) -> Past:
    bucket, backend = parts.bucket, parts.bucket.backend
    below = None if before is None else _version(before, "before")
    if isinstance(backend, KeepsHistory):
        query = ChangeQuery(bucket.name, Key(bucket.name, key), newest_first=True, after=below, limit=PAST + 1)
        with bucket.reading() as unit:
            found = backend.changes(unit, query)
        more = found[PAST - 1].revision if len(found) > PAST else None
        return Past(found[:PAST], more, "all")
    if isinstance(backend, LooksBack):
        return Past(backend.latest(bucket.name, key, PAST), None, "some")
    return Past([], None, "none")


def _is_lease(entry: KeyValue) -> bool:
    return isinstance(entry.value, dict) and entry.value.keys() == {HOLDER} and entry.expires_at is not None


def _metadata(text: str) -> JSON:
    found = parsed(text, "metadata") if text.strip() else None
    if found is not None and not isinstance(found, dict):
        raise StateValidationError({"metadata": ["Write a JSON object, or nothing."]})
    return found


def _ttl(form: Any) -> Any:
    """Return the time to live that a form asks for: nothing typed leaves it, or takes the bucket's for a new key."""
    given = form.get("ttl", "").strip()
    if not given:
        return KEEP
    if given == "never":
        return None
    try:
        return float(given)
    except ValueError as error:
        message = "Write seconds, 'never', or nothing to leave it as it is."
        raise StateValidationError({"ttl": [message]}) from error


def _version(text: str, field: str = "expect") -> int:
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    raise StateValidationError({field: ["This has to be a number: go back to the page and send its form again."]})
