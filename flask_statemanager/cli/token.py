"""``flask state token``: a bearer token for the API, and what the config keeps of it."""

from __future__ import annotations

import hashlib
import json
import secrets

import click

from .tables import document, say

BYTES = 32
"""Random bytes of a token."""


@click.command()
@click.argument("user")
@click.option("--role", "roles", metavar="ROLE", multiple=True, help="What the user is; may be given more than once.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
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
