"""Run the Credit System: ``python -m example_app``. Tables, sample data and logins are there when it listens."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile

import click
from flask import Flask
from flask.cli import FlaskGroup
from werkzeug.serving import BaseWSGIServer, make_server

from . import create_app
from .check import check
from .extensions import db
from .sample import LOGINS, fill, is_empty

HOST = "127.0.0.1"
SMALL = 40
"""Users of the sample that the check walks through."""

CHAT_TTL = 15.0
"""Seconds after which a conversation is forgotten that the check leaves alone."""


def main(arguments: list[str] | None = None) -> int:
    """Serve the application, or check it and end.

    :param arguments: the command line, without the program's name.
    :returns: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m example_app", description="Run the Flask Credit System.")
    parser.add_argument("--port", type=_port, default=None, help="where to listen (5000; with --check a free port)")
    parser.add_argument("--check", action="store_true", help="start it on an empty database, walk through it, end")
    asked = parser.parse_args(arguments)
    if asked.check:
        return _checked(asked.port or 0)
    return _served(5000 if asked.port is None else asked.port)


def prepare(app: Flask, users: int = 300) -> None:
    """Bring the database up: the states' tables by their migrations, the application's own, the sample if it is empty.

    :param app: the app.
    :param users: how many users the sample has.
    :raises flask_statemanager.StateManagerError: when the database cannot be used.
    """
    commands = FlaskGroup(create_app=lambda: app, load_dotenv=False)
    commands.main(["state", "db", "upgrade"], prog_name="flask", standalone_mode=False)
    with app.app_context():
        db.create_all()
        if is_empty():
            click.echo(f"Loading the sample: {users} users, six months ...")
            fill(users)


def announce(app: Flask, port: int) -> None:
    """Print what to open, and with which logins and token.

    :param app: the app.
    :param port: where it listens.
    """
    root = f"http://{HOST}:{port}"
    click.echo(f"\nThe Credit System runs on {root}/   (stop it with Ctrl+C)\n")
    for login, (name, password) in LOGINS.items():
        click.echo(f"  log in as    {login:<6} {password:<14} {name}")
    for title, path in (
        ("dashboard", "/"),
        ("users", "/users/"),
        ("purchases", "/purchases/"),
        ("chat", "/chat/"),
        ("mails", "/mails/"),
        ("machines", "/machines/"),
        ("live", "/live/"),
        ("manager", "/admin/state"),
        *([("analytics", "/analytics/")] if app.config["ANALYTICS"] else []),
    ):
        click.echo(f"  {title:<12} {root}{path}")
    click.echo(f"  API          curl -H 'Authorization: Bearer {app.config['API_TOKEN']}' {root}/api/users")
    click.echo(f"  its manager  {root}/api/v1/state/docs   (as admin, or with the same token)")
    click.echo(f"  health       curl {root}/api/health\n")


def listening(app: Flask, port: int) -> BaseWSGIServer:
    """Return a server that is bound, and serves when told to.

    :param app: the app.
    :param port: where to listen; 0 for a free port.
    """
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    return make_server(HOST, port, app, threaded=True)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number up to 65535")
    return int(text)


def _served(port: int) -> int:
    app = create_app({"DEMO": LOGINS})
    prepare(app)
    try:
        server = listening(app, port)
    except (OSError, OverflowError, SystemExit):
        click.echo(f"Port {port} cannot be used: choose another with --port (make demo PORT=...).", err=True)
        return 1
    announce(app, server.server_port)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        click.echo("Stopped.")
    finally:
        server.server_close()
    return 0


def _checked(port: int) -> int:
    # One of the steps has an effect fail on purpose, which is logged with its traceback.
    logging.getLogger("flask_statemanager.effects").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="credit-") as folder:
        app = create_app({"INSTANCE_PATH": folder, "DEMO": LOGINS, "STATEMANAGER_FLOWS_TTL": CHAT_TTL})
        try:
            prepare(app, SMALL)
            return check(listening(app, port), app.config["API_TOKEN"], LOGINS, app.config["WHATSAPP_SECRET"])
        finally:
            app.extensions["statemanager"].close()
            with app.app_context():
                db.session.remove()
                db.engine.dispose()


if __name__ == "__main__":
    sys.exit(main())
