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
TOKEN, SECRET = "token-of-the-demo", "secret-of-the-demo"
"""What programs ask its API with, and what its webhook is signed with."""


def build(folder: str | Path) -> Flask:
    """Put the demo together.

    :param folder: where its database and its snapshots are.
    """
    secrets = {"SECRET_KEY": "key-of-the-demo", "API_TOKEN": TOKEN, "WHATSAPP_SECRET": SECRET}
    return create_app({"INSTANCE_PATH": str(folder), "DEMO": LOGINS, **secrets})


if __name__ == "__main__":
    app = build(sys.argv[1])
    prepare(app, USERS)
    listening(app, int(sys.argv[2])).serve_forever()
