"""The demo with a small sample, as ``python -m example_app`` runs it, in a folder of its own.

Usage: python -m tests.processes.demo FOLDER PORT
"""

from __future__ import annotations

import sys
from pathlib import Path

from flask import Flask

from example_app import create_app
from example_app.__main__ import listening, prepare
from example_app.sample import LOGINS

USERS = 40


def build(folder: str | Path) -> Flask:
    """Put the demo together.

    :param folder: where its database and its snapshots are.
    """
    return create_app({"INSTANCE_PATH": str(folder), "DEMO": LOGINS, "SECRET_KEY": "the same at every start"})


if __name__ == "__main__":
    app = build(sys.argv[1])
    prepare(app, USERS)
    listening(app, int(sys.argv[2])).serve_forever()
