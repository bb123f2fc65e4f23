"""``flask state completion``: what a shell has to run so that it completes."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .tables import say

SHELLS = ("bash", "zsh", "fish")
"""The shells that click knows."""


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what a shell has to run to complete commands.

    Types, ids of states, transitions, buckets and keys are completed too. For
    bash, put this into ~/.bashrc:

    \b
      eval "$(flask state completion bash)"

    It belongs to the command that it is printed by, and needs FLASK_APP, an
    app.py or wsgi.py, or --app on the line that is completed.
    """  # noqa: D301 - click keeps the lines behind a \b
    root = ctx.find_root()
    name = root.info_name or "flask"
    found = get_completion_class(shell)
    assert found is not None, "click knows these shells"
    variable = f"_{name.replace('-', '_').replace('.', '_')}_COMPLETE".upper()
    say(found(root.command, {}, name, variable).source())
