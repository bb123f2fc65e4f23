"""``flask state token`` and ``tokens``: bearer tokens for the API, and what the config keeps of them."""

from __future__ import annotations

import hashlib
import json
import secrets

import click
from flask.cli import with_appcontext

from ..globals import current_runtime
from .options import as_json, tabular
from .tables import Column, document, say, table

BYTES = 32
"""Random bytes of a token."""

_SHOWN = 8


@click.command()
@click.argument("user")
@click.option("--role", "roles", metavar="ROLE", multiple=True, help="What the user is; may be given more than once.")
@as_json
def token(*, user: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Make a bearer token of the API for USER.

    It is printed with its line of STATEMANAGER_API_TOKENS, and stored nowhere: the config keeps the hash, and whoever
    is to use the token keeps the token.
    """
    made = secrets.token_urlsafe(BYTES)
    hashed = hashlib.sha256(made.encode()).hexdigest()
    whose = {"user": user, "roles": list(roles)}
    if as_json:
        say(document({"token": made, "tokens": {f"sha256:{hashed}": whose}}))
        return
    say(f"token: {made}")
    say(f'STATEMANAGER_API_TOKENS: "sha256:{hashed}": {json.dumps(whose)}')


@click.command()
@tabular
@with_appcontext
def tokens(as_json: bool) -> None:
    """List whom the configured tokens of the API stand for."""
    found = [
        {"user": each.user, "roles": sorted(each.roles), "hash": f"{each.scheme}:{each.digest[:_SHOWN]}"}
        for each in current_runtime.settings.api_tokens
    ]
    if as_json:
        say(document({"items": found}))
    elif found:
        columns = (Column("USER", firm=True), Column("ROLES"), Column("HASH", firm=True))
        say(table(columns, [(each["user"], ", ".join(each["roles"]), f"{each['hash']}...") for each in found]))
    else:
        say("No tokens are configured: 'flask state token' makes one.")
