"""``flask state export`` and ``import``: records as lines of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from datetime import datetime
from typing import IO

import click
from flask.cli import with_appcontext
from msgspec import Struct

from ..core.batch import Batch, Done, Row
from ..core.powers import require
from ..core.record import Origin, Record
from ..core.snapshots import Scan, Snapshots
from ..core.step import Step
from ..errors import StateManagerError, StateValidationError
from ..globals import current_runtime
from ..kv.value import TYPE, VALUE
from ..lifecycle.parts import BUCKET as STATES
from . import lines
from .completing import BUCKET_NAME
from .effects import counted
from .progress import progress_bar
from .tables import printable, say

CHUNK = 1000
"""How many lines one transaction takes."""

SHOWN = 20
"""How many refused lines are printed."""

_AROUND = 1024
"""Bytes that a document may have beyond the limit before it is looked at closely."""


@click.command("export")
@click.option("--bucket", required=True, metavar="NAME", type=BUCKET_NAME, help="The bucket; 'state' holds the states.")
@click.option("--prefix", default="", metavar="TEXT", help="Only names that begin so.")
@click.option("--output", "-o", type=click.File("w", encoding="utf-8", lazy=False), default="-", help="A file.")
@with_appcontext
def export_lines(*, bucket: str, prefix: str, output: IO[str]) -> None:
    """Write the records of a bucket as lines of JSON.

    All of one moment, in the order of their names; what has expired is left out.
    """
    source = current_runtime.bucket_named(bucket)
    looks = require(source.backend, Snapshots, "flask state export")  # type: ignore[type-abstract]
    done = 0
    bar = progress_bar("Writing") if output.name != "<stdout>" else nullcontext(None)
    with looks.looking(Scan((source.name,), prefix)) as look, bar as progress:
        for records in look.batches:
            living = [source.present(record) for record in records if not record.deleted]
            shown = [record for record in living if not record.deleted]
            output.writelines(f"{lines.written(record)}\n" for record in shown)
            done += len(shown)
            if progress is not None:
                progress(done, None)
    output.flush()
    click.echo(f"Wrote {counted(done, 'line')}.", err=True)


@click.command("import")
@click.argument("source", type=click.File("rb"), default="-", metavar="[FILE]")
@click.option("--bucket", metavar="NAME", type=BUCKET_NAME, help="The bucket of lines that name none.")
@click.option("--skip-existing", is_flag=True, help="Leave what is there as it is.")
@click.option("--reason", metavar="TEXT", help="Why; it stands in the history.")
@click.option("--dry-run", is_flag=True, help="Only read the lines, and say which are refused.")
@click.pass_context
@with_appcontext
def import_lines(
    ctx: click.Context, *, source: IO[bytes], bucket: str | None, skip_existing: bool, reason: str | None, dry_run: bool
) -> None:
    """Write records from lines of JSON, as 'export' writes them.

    A thousand lines at a time, each like a write of its own: what is refused is told with the number of its line, and
    the others are written. A record that is there is written anew.
    """
    origin = current_runtime.declarations.actor(actor=None, source=None, reason=reason)
    importing = Import(origin, bucket, skip_existing, dry_run)
    with progress_bar("Reading") as progress:
        for done in importing.run(source):
            if progress is not None:
                progress(done, None)
    verb = "Would write" if dry_run else "Wrote"
    say(f"{verb} {counted(importing.written, 'record')}.")
    if importing.refused:
        for number, problem in importing.refused:
            say(f"line {number}: {printable(problem)}")
        left = importing.refusals - SHOWN
        say(f"{counted(importing.refusals, 'line')} refused{f', the first {SHOWN} are shown' if left > 0 else ''}.")
        ctx.exit(1)


class Import:
    """Reads lines and writes them in chunks.

    :param origin: who asks.
    :param bucket: the bucket of lines that name none.
    :param skipping: whether what is there is left as it is.
    :param rehearsing: whether nothing is written.
    :ivar written: how many records were written.
    :ivar refusals: how many lines were refused.
    :ivar refused: the first of them, with their numbers and what is wrong.
    """

    def __init__(self, origin: Origin, bucket: str | None, skipping: bool, rehearsing: bool) -> None:
        self._origin, self._bucket = origin, bucket
        self._skipping, self._rehearsing = skipping, rehearsing
        self.written = self.refusals = 0
        self.refused: list[tuple[int, str]] = []
        self._chunk: dict[str, tuple[int, Record]] = {}
        self._place = ""

    def run(self, source: Iterable[bytes]) -> Iterator[int]:
        """Read all lines; empty ones are passed by.

        :param source: the lines.
        :returns: how many were read so far, again and again.
        :raises StorageError: when the storage fails; the chunks before are written.
        """
        number = 0
        for number, line in enumerate(source, 1):
            if line.strip():
                self._take(number, line)
            if number % CHUNK == 0:
                yield number
        self._write()
        yield number

    def _take(self, number: int, line: bytes) -> None:
        runtime = current_runtime
        now = runtime.declarations.clock.now()
        try:
            record = lines.read(line, self._bucket, runtime.settings.max_value_bytes + _AROUND, now)
            _check_kind(record)
        except StateManagerError as error:
            self._refuse(number, error)
            return
        name, place = record.key.name, record.key.bucket
        if len(self._chunk) >= CHUNK or name in self._chunk or place != self._place:
            self._write()
        self._place = place
        self._chunk[name] = number, record

    def _write(self) -> None:
        chunk, self._chunk = self._chunk, {}
        if not chunk or self._rehearsing:
            self.written += len(chunk)
            return
        kept: set[str] | None = set() if self._skipping else None
        rows = [Row(name, Put(record, kept)) for name, (_number, record) in chunk.items()]
        answers = Batch(current_runtime.bucket_named(self._place)).write(rows, origin=self._origin) or {}
        for name, answer in answers.items():
            if isinstance(answer, Done):
                self.written += name not in (kept or ())
            else:
                self._refuse(chunk[name][0], answer)

    def _refuse(self, number: int, error: Exception) -> None:
        self.refusals += 1
        if len(self.refused) < SHOWN:  # the others are only counted
            self.refused.append((number, str(error) or type(error).__name__))


def _check_kind(record: Record) -> None:
    """Refuse what does not belong into its bucket: it could not be read there by the verbs that the bucket is for."""
    runtime, bucket = current_runtime, record.key.bucket
    if bucket == STATES:
        machine = runtime.declarations.definitions.get(record.type).machine
        if record.status not in machine.statuses:
            known = ", ".join(machine.statuses)
            raise StateValidationError({"status": [f"A {record.type} is never {record.status}; known are {known}."]})
        return
    runtime.bucket_named(bucket)
    if record.type != TYPE or record.data.keys() != {VALUE}:
        raise StateValidationError({"line": [f"The bucket {bucket} is for keys and values: write 'key' and 'value'."]})


class Put(Struct, frozen=True):
    """The decision to have a record stored.

    :param record: the record.
    :param kept: takes the name of one that is there and stays as it is; None where it is written anew.
    """

    record: Record
    kept: set[str] | None

    def __call__(self, stored: Record | None, _now: datetime) -> Step | None:
        """Return the step, or None.

        :param stored: what is stored.
        """
        if self.kept is not None and stored is not None and not stored.deleted:
            self.kept.add(stored.key.name)
            return None
        return Step("import", self.record)
