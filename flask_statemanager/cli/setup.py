"""``flask state init``: a commented configuration, and a look at the set-up."""

from __future__ import annotations

from pathlib import Path

import click
from flask.cli import ScriptInfo

from ..globals import UNINITIALISED, current_runtime, find_runtime
from .checks import look
from .exits import REFUSED
from .findings import FAILED, Finding, failures, print_findings
from .options import yes
from .tables import printable, say
from .template import configuration


@click.command()
@click.argument("target", metavar="[FILE]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--no-check", "unchecked", is_flag=True, help="Do not look at the set-up, and need no application.")
@yes
@click.pass_context
def init(ctx: click.Context, *, target: Path | None, unchecked: bool, yes: bool) -> None:
    """Write a commented configuration, and check the set-up.

    Every key stands in it with its meaning and its default, commented out: to
    standard output, or to FILE, which is not overwritten without asking. Then
    it does what 'flask state check' does; where the configuration goes to
    standard output, what is found goes to standard error.
    """
    text = configuration()
    if target is None:
        say(text.rstrip("\n"))
    else:
        _write(target, text, yes)
    if not unchecked:
        _check(ctx, err=target is None)


def _write(target: Path, text: str, yes: bool) -> None:
    if target.exists() and not yes:
        click.confirm(f"{printable(target)} exists. Overwrite it?", abort=True)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{printable(target)} cannot be written: {error.strerror}.") from error
    say(f"Wrote {printable(target)}: app.config.from_pyfile({str(target.resolve())!r}) reads it.\n")


def _check(ctx: click.Context, *, err: bool) -> None:
    app = ctx.ensure_object(ScriptInfo).load_app()
    with app.app_context():
        if find_runtime() is None:
            found = [
                Finding("extension", FAILED, "This app has no Flask-StateManager.", UNINITIALISED.split(": ", 1)[1])
            ]
        else:
            found = list(look(current_runtime, app.config))
        print_findings(found, err=err)
    if failures(found):
        ctx.exit(REFUSED)
