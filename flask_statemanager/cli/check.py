"""``flask state check``: whether the set-up is what it must be, and what to do where it is not."""

from __future__ import annotations

import click
from flask import current_app
from flask.cli import with_appcontext

from ..globals import current_runtime
from .checks import look
from .exits import REFUSED
from .findings import document_of, failures, print_findings
from .options import as_json
from .tables import document, say


@click.command()
@click.option("--strict", is_flag=True, help="Exit with 1 for a warning, too.")
@click.option("--no-write", "reading", is_flag=True, help="Write nothing: the cache and the stores are only asked.")
@as_json
@click.pass_context
@with_appcontext
def check(ctx: click.Context, *, strict: bool, reading: bool, as_json: bool) -> None:
    """Check the set-up, and say what to do where it is wrong.

    The database, its tables, Redis and what it keeps, the cache, the worker,
    and who may use the API and the admin pages. One record is written and read
    back, in a bucket of its own. Exit code 1 says that something failed.
    """
    found = list(look(current_runtime, current_app.config, writing=not reading))
    if as_json:
        say(document(document_of(found)))
    else:
        print_findings(found)
    if failures(found, strict=strict):
        ctx.exit(REFUSED)
