"""The check of the demo: walk through the running application over HTTP, say what was seen, count what went wrong."""

from __future__ import annotations

import threading

import click
from werkzeug.serving import BaseWSGIServer

from .visit import Logins
from .walk import Walk


def check(server: BaseWSGIServer, token: str, logins: Logins, secret: str = "") -> int:
    """Run a server, walk through it, stop it.

    :param server: a bound server, not yet serving.
    :param token: the API's token.
    :param logins: login, name and password of the demo users.
    :param secret: with what WhatsApp signs.
    :returns: how many steps failed, as an exit status.
    """
    thread = threading.Thread(target=server.serve_forever, name="credit-server", daemon=True)
    thread.start()
    root = f"http://127.0.0.1:{server.server_port}/"
    click.echo(f"The server answers on {root}")
    try:
        return min(Walk(root, token, logins, secret).all(), 100)
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
        click.echo("The server is stopped.")
