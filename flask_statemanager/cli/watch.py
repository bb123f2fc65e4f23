"""``flask state watch``: changes as they happen, in this process or any other."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import click
import orjson
from flask.cli import with_appcontext
from msgspec import Struct

from ..core.buckets import RESERVED
from ..core.clock import iso
from ..core.patch import diff as difference
from ..core.record import JSON, Change
from ..errors import ConfigurationError
from ..globals import current_runtime
from ..lifecycle.parts import BUCKET
from ..tracking.propagation import FULL
from ..web.live.messages import change_data
from .completing import BUCKET_NAME, STATE_ID, TYPE
from .exits import INTERRUPTED
from .feed import Feed, Heard
from .history import patched
from .options import wide
from .tables import GAP, breadth, painted, printable, say, shortened, terminal_width

_COLOURS = {"create": "green", "delete": "red", "remove": "red", "expire": "magenta"}
_CLOCK = slice(11, 19)
Command = Callable[..., Any]


class Wanted(Struct, frozen=True):
    """Which changes are told.

    :param prefix: how their names begin.
    :param name: the one name; None for any.
    :param state_type: of which type the records are; None for any.
    :param events: which events; empty for all.
    """

    prefix: str = ""
    name: str | None = None
    state_type: str | None = None
    events: Sequence[str] = ()

    def takes(self, change: Change) -> bool:
        """Tell whether a change is one of them.

        :param change: the change.
        """
        name = change.key.name
        return (
            name.startswith(self.prefix)
            and self.name in (None, name)
            and self.state_type in (None, change.after.type)
            and (not self.events or change.event in self.events)
        )


class Manner(Struct, frozen=True):
    """How the changes are told, and for how long.

    :param as_json: a JSON object on each line.
    :param diff: with what changed in the value.
    :param limit: the most changes; None for all.
    """

    as_json: bool
    diff: bool
    limit: int | None


def followed(command: Command) -> Command:
    """Add the options of commands that tell of changes.

    :param command: the function of the command.
    """
    for option in (
        wide,
        click.option("--json", "as_json", is_flag=True, help="Print a JSON object on each line."),
        click.option("--diff", is_flag=True, help="Show how the value changed."),
        click.option("--limit", type=click.IntRange(1), help="End behind so many changes."),
        click.option(
            "--timeout",
            type=click.FloatRange(0),
            metavar="SECONDS",
            help="End when nothing changes for so long; 0 ends behind what there is already.",
        ),
        click.option(
            "--since", metavar="CURSOR", help="Begin behind this cursor; '0' is the beginning. From now on by default."
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.option(
    "--bucket", "buckets", multiple=True, type=BUCKET_NAME, metavar="NAME", help="Only this bucket; 'state' is states."
)
@click.option("--id", "name", type=STATE_ID, metavar="ID", help="Only this state or key.")
@click.option("--prefix", default="", metavar="TEXT", help="Only ids and keys that begin so.")
@click.option("--type", "state_type", type=TYPE, metavar="TYPE", help="Only states of this type.")
@click.option("--event", "events", multiple=True, metavar="NAME", help="Only this transition or event.")
@followed
@with_appcontext
def watch(
    *,
    buckets: tuple[str, ...],
    name: str | None,
    prefix: str,
    state_type: str | None,
    events: tuple[str, ...],
    since: str | None,
    timeout: float | None,
    limit: int | None,
    diff: bool,
    as_json: bool,
) -> None:
    """Tell of changes as they happen, whoever makes them.

    Of all states and keys, or of what the options name. It goes on until
    Ctrl-C, which is exit code 130, or until --limit or --timeout ends it with
    0. At the end it prints the cursor that --since takes to go on without a
    gap; with --json each line has its own.
    """
    feed = Feed(current_runtime, buckets or _known(), since, timeout)
    tail(feed, Wanted(prefix, name, state_type, events), Manner(as_json, diff, limit))


def tail(feed: Feed, wanted: Wanted, manner: Manner) -> None:
    """Print changes until there is an end to it.

    :param feed: the changes.
    :param wanted: which of them.
    :param manner: how they are printed.
    :raises ConfigurationError: when live events are switched off.
    """
    if not current_runtime.settings.broadcast_changes:
        raise ConfigurationError("Changes cannot be watched: STATEMANAGER_BROADCAST_CHANGES switches live events off.")
    secrets, several = current_runtime.settings.live_secrets, len(feed.buckets) > 1
    try:
        with _interruptible():
            for heard in islice(_wanted(feed, wanted), manner.limit):
                _tell(heard, manner, secrets, several=several)
    except KeyboardInterrupt:
        click.echo(f"\nGo on with --since {feed.cursor}", err=True)
        click.get_current_context().exit(INTERRUPTED)
    click.echo(f"Go on with --since {feed.cursor}", err=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have Ctrl-C end what goes on, also where a shell has started it in the background and had it ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _known() -> list[str]:
    return [BUCKET, *(current_runtime.declarations.buckets.buckets.keys() - RESERVED.keys())]


def _wanted(feed: Feed, wanted: Wanted) -> Iterator[Heard]:
    for heard in feed:
        if heard.change is None:
            lost = f"Some changes are not kept any more; it goes on behind {heard.cursor}."
            click.echo(lost, err=True)
        elif wanted.takes(heard.change):
            yield heard


def _tell(heard: Heard, manner: Manner, secrets: frozenset[str], *, several: bool) -> None:
    change = heard.change
    assert change is not None, "what is lost is told elsewhere"
    found = orjson.loads(change_data(change, FULL, secrets)) | {"reason": change.reason, "cursor": heard.cursor}
    if manner.as_json:
        say(json.dumps(found).replace("\x7f", "\\u007f"))
        return
    say(_line(change, found, several))
    if manner.diff and "new_value" in found:
        for line in patched(_difference(found)):
            say(line)


def _difference(found: dict[str, Any]) -> list[Any]:
    old, new = found["old_value"], found["new_value"]
    if isinstance(old, dict | None) and isinstance(new, dict | None):
        return difference(old or {}, new or {})
    return difference(old, new)


def _line(change: Change, found: dict[str, Any], several: bool) -> str:
    """Write a change on one line."""
    when = iso(change.at)[_CLOCK]
    name = f"{change.key.bucket} {change.key.name}" if several else change.key.name
    event = printable(change.event)
    detail = " ".join(filter(None, (_moved(change, found), f"v{change.version}", f"by {change.actor}", _why(change))))
    text = GAP.join((when, event.ljust(10), printable(name), printable(detail)))
    text = shortened(text, terminal_width())
    head, tail_ = text[: len(when) + len(GAP)], text[len(when) + len(GAP) :]
    return head + painted(tail_[: len(event)], _COLOURS.get(change.event, "cyan")) + tail_[len(event) :]


def _why(change: Change) -> str:
    return f"({change.reason})" if change.reason else ""


def _moved(change: Change, found: dict[str, Any]) -> str:
    """Write what became of a status, or the value of a key where it is told."""
    before, after = change.before, change.after
    if change.key.bucket == BUCKET:
        if before is None or before.status == after.status:
            return after.status
        return f"{before.status} > {after.status}"
    return "" if after.deleted or "new_value" not in found else _brief(found["new_value"])


def _brief(value: JSON) -> str:
    written = json.dumps(value, ensure_ascii=False)
    return written if breadth(written) <= 30 else shortened(written, 30)
