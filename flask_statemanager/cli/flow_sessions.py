"""The commands that change a conversation: a turn in place of the user, a step back, a way on, new data, a logout."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import with_appcontext
from msgspec.structs import asdict

from ..flows.channel import Channel
from ..flows.recovery import RUNGS
from ..flows.session import FlowSession
from ..flows.turns import Turns
from ..globals import current_runtime
from .arguments import json_object
from .exits import REFUSED
from .kv_options import VALUE_SHAPE, as_text, given
from .options import SHAPE, as_json
from .tables import document, printable, say

_type = click.argument("channel_type", metavar="TYPE")
_id = click.argument("channel_id", metavar="ID")


@click.command()
@_type
@_id
@click.argument("message", metavar=VALUE_SHAPE)
@as_text
@click.option("--message-id", metavar="ID", help="The channel's name for it: the same one is worked on once.")
@as_json
@click.pass_context
@with_appcontext
def receive(
    ctx: click.Context,
    *,
    channel_type: str,
    channel_id: str,
    message: str,
    as_text: bool,
    message_id: str | None,
    as_json: bool,
) -> None:
    """Work on a message as if the user had sent it.

    What the flows say is sent to the user, too. Exit code 1 says that
    something went wrong, and nothing of the turn is kept.
    """
    channel = Channel.of(channel_type, channel_id)
    answer = Turns(current_runtime.reception.conduct()).receive(channel, given(message, text=as_text), message_id)
    if as_json:
        say(document(asdict(answer)))
    else:
        for each in answer.messages:
            say(printable(each) if isinstance(each, str) else document(each))
        say(f"[{printable(answer.path or 'no flow')}: {printable(answer.component or 'no step')}]")
    if answer.failed:
        ctx.exit(REFUSED)


@click.command()
@_type
@_id
@click.option("--steps", type=click.IntRange(1, 10), default=1, show_default=True, help="How many steps.")
@with_appcontext
def back(channel_type: str, channel_id: str, steps: int) -> None:
    """Take a conversation back to an earlier step.

    \f

    :raises click.ClickException: when so many are not remembered.
    """  # noqa: D301 - click ends the help at \f
    session = _session(channel_type, channel_id)
    if not session.rollback(steps):
        raise click.ClickException("So many steps are not remembered; nothing is changed.")
    _tell(session)


@click.command()
@_type
@_id
@click.option("--how", type=click.Choice(RUNGS), help="This way; by default the next one, the gentlest first.")
@with_appcontext
def recover(channel_type: str, channel_id: str, how: str | None) -> None:
    """Find a way on for a conversation that is stuck."""
    session = _session(channel_type, channel_id)
    say(f"taken: {session.recover(how)}")
    _tell(session)


@click.command()
@_type
@_id
@click.argument("changes", metavar=SHAPE, callback=json_object)
@with_appcontext
def update(channel_type: str, channel_id: str, changes: dict[str, Any]) -> None:
    """Change members of a conversation's state."""
    session = _session(channel_type, channel_id)
    session.update_state(changes)
    _tell(session)


@click.command()
@_type
@_id
@with_appcontext
def logout(channel_type: str, channel_id: str) -> None:
    """Forget the token of a conversation.

    It still belongs to its member.
    """
    session = _session(channel_type, channel_id)
    session.end_authentication()
    _tell(session)


def _session(channel_type: str, channel_id: str) -> FlowSession:
    session = FlowSession(current_runtime.reception.parts(), Channel.of(channel_type, channel_id))
    if not session.version:
        where = f"{printable(channel_type)} {printable(channel_id)}"
        raise click.ClickException(f"No conversation is going on with {where}.")
    return session


def _tell(session: FlowSession) -> None:
    channel = session.channel
    place = f"{session.get_path() or 'no flow'}: {session.get_component() or 'no step'}"
    say(printable(f"{channel.type} {channel.identifier}: version {session.version} [{place}]"))
