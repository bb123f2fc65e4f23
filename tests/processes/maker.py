"""A process that starts on an empty database together with others: all of them make the tables, each in its own way."""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_statemanager import StateManager
from flask_statemanager.cli import state
from flask_statemanager.stores import StateManager as Stores
from flask_statemanager.stores import StateManagerConfig
from tests.processes.voice import say


def upgrade(app: Flask, _url: str, _me: int) -> Any:
    """Run ``flask state db upgrade``."""
    said = app.test_cli_runner().invoke(cli=state, args=["db", "upgrade"], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    return said.output


def tables(app: Flask, _url: str, _me: int) -> Any:
    """Make the tables in the application's database."""
    app.extensions["statemanager"].backend.create_tables()


def tables_or_upgrade(app: Flask, url: str, me: int) -> Any:
    """Make the tables by the one way or by the other."""
    return (upgrade if me % 2 else tables)(app, url, me)


def manager(_app: Flask, url: str, me: int) -> Any:
    """Use a manager without an app, which makes the tables of its database at its first use."""
    StateManager.reset_instance()
    try:
        return StateManager(database_manager=url).register_state(f"s{me}", "user", {"by": me}).version
    finally:
        StateManager.reset_instance()


def stores(_app: Flask, url: str, me: int) -> Any:
    """Use stores in a database of their own, which makes the tables at the first use."""
    opened = Stores(StateManagerConfig("database", database_url=url))
    try:
        opened.set_store_data(f"s{me}", {"by": me})
        return opened.get_store_data(f"s{me}")
    finally:
        opened.close()


ACTS: dict[str, Callable[[Flask, str, int], Any]] = {
    act.__name__: act for act in (upgrade, tables, tables_or_upgrade, manager, stores)
}


def application(url: str) -> Flask:
    """Put an application together that has not connected to its database.

    :param url: the database.
    """
    StateManager.reset_instance()
    app = Flask("maker")
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    db = SQLAlchemy(app)
    StateManager(app, db=db)
    return app


def close(app: Flask) -> None:
    """Give back the connections of an application: another one follows.

    :param app: the application.
    """
    app.extensions["statemanager"].close()
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def main() -> None:
    """Obey until the input ends."""
    warnings.simplefilter("error")
    told = json.loads(sys.argv[1])
    url, app = "sqlite://", application("sqlite://")
    app.test_cli_runner().invoke(cli=state, args=["db", "--help"])  # imported when it is asked for
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "open":
            url = order["url"]
            close(app)
            app = application(url)
            say("open")
            continue
        assert os.read(told["guns"][0], 1), "the test has gone"
        try:
            say({"won": True, "answer": ACTS[order["act"]](app, url, told["number"])})
        except Exception as error:  # noqa: BLE001 - the test tells what must not happen
            say({"won": False, "error": type(error).__name__, "trace": "".join(traceback.format_exception(error))})


if __name__ == "__main__":
    main()
