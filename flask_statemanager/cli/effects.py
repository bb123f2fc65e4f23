"""``flask state effects``: durable effects, above all the dead letters among them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click
from flask.cli import with_appcontext

from ..core.jobs import CANCELLED, DEAD, DONE, PENDING
from ..effects.outbox import Effect, Outbox, OutboxVerbs
from ..errors import JobNotFound
from ..globals import current_runtime
from .completing import STATE_ID
from .options import as_json, tabular, yes
from .options import limit as limited
from .tables import Column, beneath, document, moment, printable, say, table

_PAGE = 100
_COLUMNS = (
    Column("ID", right=True, firm=True),
    Column("EFFECT"),
    Column("STATE"),
    Column("VERSION", right=True, firm=True),
    Column("STATUS", firm=True),
    Column("ATTEMPTS", right=True, firm=True),
    Column("DUE OR ENDED (UTC)", firm=True),
)
_number = click.IntRange(1)
_ids = click.argument("ids", metavar="ID...", type=_number, nargs=-1)


class _Verbs(OutboxVerbs):
    """The verbs on the jobs of the current app."""

    def _outbox(self) -> Outbox:
        return current_runtime.workshop.outbox


_verbs = _Verbs()


@click.group()
def effects() -> None:
    """Look at durable effects, try them again, give them up."""


@effects.command("list")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice([PENDING, DONE, DEAD, CANCELLED]),
    help="Only effects in this status; may be given more than once.",
)
@click.option("--state", "state_id", metavar="ID", type=STATE_ID, help="Only effects of this state.")
@click.option("--effect", metavar="NAME", help="Only this effect.")
@limited(1000, what="The most effects to print.")
@click.option("--after", type=_number, metavar="ID", help="Go on behind this one.")
@tabular
@with_appcontext
def list_effects(
    *, status: tuple[str, ...], state_id: str | None, effect: str | None, limit: int, after: int | None, as_json: bool
) -> None:
    """List durable effects, oldest first.

    Those that are done or discarded are forgotten after a while.
    """
    found = _verbs.list_effects(status=status or None, state_id=state_id, effect=effect, limit=limit + 1, after=after)
    print_listing(found, limit, as_json, "No effects found.", _table)


@effects.command()
@click.argument("effect_id", metavar="ID", type=_number)
@as_json
@with_appcontext
def show(effect_id: int, as_json: bool) -> None:
    """Show one effect, with the traceback of its last failure."""
    found = _verbs.get_effect(effect_id)
    say(document(found) if as_json else _sheet(found))


@effects.command()
@_ids
@click.option("--all-dead", is_flag=True, help="All dead letters instead of some ids.")
@click.option("--effect", metavar="NAME", help="With --all-dead: only of this effect.")
@click.pass_context
@with_appcontext
def retry(ctx: click.Context, *, ids: tuple[int, ...], all_dead: bool, effect: str | None) -> None:
    """Let effects be tried again now.

    Dead letters, discarded ones, or such that wait for their next attempt. Their attempts are counted anew.

    \f

    :raises click.UsageError: when neither or both of ids and --all-dead are given.
    """  # noqa: D301 - click ends the help at \f
    if all_dead is bool(ids):
        raise click.UsageError("Give ids, or --all-dead.")
    if effect is not None and not all_dead:
        raise click.UsageError("--effect needs --all-dead.")
    if all_dead:
        say(f"{counted(_retried_dead(effect), 'effect')} to be tried again.")
    else:
        _each(ctx, ids, _verbs.retry_effect, "to be tried again")


@effects.command()
@_ids
@yes
@click.pass_context
@with_appcontext
def discard(ctx: click.Context, *, ids: tuple[int, ...], yes: bool) -> None:
    """Give effects up.

    Dead letters, or such that wait for an attempt; 'retry' can bring them back, until they are forgotten.

    \f

    :raises click.UsageError: without ids.
    """  # noqa: D301 - click ends the help at \f
    if not ids:
        raise click.UsageError("Give the ids of the effects.")
    if not yes:
        asked = [_named(_verbs.get_effect(effect_id)) for effect_id in ids]
        click.confirm("\n".join(asked) + f"\nDiscard {'it' if len(asked) == 1 else 'them'}?", abort=True)
    _each(ctx, ids, _verbs.discard_effect, "discarded")


def print_listing(
    found: Sequence[Any], limit: int, as_json: bool, empty: str, drawn: Callable[[Sequence[Any]], str]
) -> None:
    """Print a page of jobs, and how to go on.

    :param found: the jobs, one more than the page takes where there are more.
    :param limit: how many the page takes.
    :param as_json: as a document.
    :param empty: what to say where there are none.
    :param drawn: makes the table.
    """
    page = found[:limit]
    following = page[-1]["id"] if len(found) > limit else None
    if as_json:
        say(document({"items": page, "next": following}))
    elif not page:
        say(empty)
    else:
        say(drawn(page))
        if following is not None:
            say(f"\nThere are more; go on with --after {following}")


def with_errors(columns: Sequence[Column], rows: Sequence[Sequence[object]], jobs: Sequence[Any]) -> str:
    """Draw a table of jobs, the error of each on a line below it.

    :param columns: the headings.
    :param rows: the cells.
    :param jobs: the jobs.
    """
    return beneath(table(columns, rows), [job["error"] for job in jobs])


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """Write a number with its noun.

    :param number: how many.
    :param noun: its singular.
    :param nouns: its plural, where that is not the singular with an s.
    """
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def _table(page: Sequence[Effect]) -> str:
    return with_errors(_COLUMNS, [_row(found) for found in page], page)


def _row(found: Effect) -> tuple[object, ...]:
    when = moment(found.finished_at or found.due_at)
    return found.id, found.effect, found.state_id, found.version, found.status, found.attempts, when


def sheet_of(found: Mapping[str, Any]) -> str:
    """Write something in full, a line for each key.

    :param found: its members.
    """
    width = max(len(key) for key in found)
    return "\n".join(f"{key.ljust(width)}  {_written(value)}".rstrip() for key, value in found.items())


def _written(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value)


def _sheet(found: Effect) -> str:
    """Write an effect in full, and the traceback below."""
    lines = [sheet_of({key: value for key, value in found.items() if key != "traceback"})]
    trace = found.traceback.rstrip("\n").split("\n") if found.traceback else []
    return "\n".join([*lines, *(["", "traceback"] if trace else []), *(printable(line) for line in trace)])


def _named(found: Effect) -> str:
    return printable(f"{found.id}: {found.effect} of {found.state_id}, version {found.version}, {found.status}")


def _each(ctx: click.Context, ids: Sequence[int], act: Callable[[int], Effect], done: str) -> None:
    """Do something to each effect; one that does not let it be done does not keep it from the others."""
    refused = False
    for effect_id in dict.fromkeys(ids):
        try:
            found = act(effect_id)
        except JobNotFound as error:
            refused = True
            click.ClickException(printable(str(error))).show()
        else:
            say(printable(f"{found.id}: {found.effect} of {found.state_id}, version {found.version}, {done}."))
    if refused:
        ctx.exit(1)


def _retried_dead(effect: str | None) -> int:
    number = 0
    for found in _dead(effect):
        try:
            _verbs.retry_effect(found.id)
            number += 1
        except JobNotFound:  # somebody else has retried or discarded it
            continue
    return number


def _dead(effect: str | None) -> Iterator[Effect]:
    page: list[Effect] = []
    while True:
        page = _verbs.list_effects(status=DEAD, effect=effect, limit=_PAGE, after=page[-1].id if page else None)
        yield from page
        if len(page) < _PAGE:
            return
