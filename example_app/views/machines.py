"""The machines: a page for each, with its picture and its text."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, render_template

from flask_statemanager.admin.drawing import draw
from flask_statemanager.lifecycle.diagram import dot, mermaid

from ..access import login_required
from ..machines import MACHINES

blueprint = Blueprint("machines", __name__, url_prefix="/machines")


@blueprint.get("/")
@login_required
def index() -> Any:
    """List the machines."""
    return render_template("machines.html", machines={kind: draw(machine) for kind, machine in MACHINES.items()})


@blueprint.get("/<state_type>")
@login_required
def show(state_type: str) -> Any:
    """Show the machine of a type.

    :param state_type: the type.
    """
    machine = MACHINES.get(state_type)
    if machine is None:
        abort(404, f"There is no type {state_type}.")
    return render_template(
        "machine.html",
        kind=state_type,
        machine=machine,
        drawing=draw(machine),
        mermaid=mermaid(machine, deletion=True),
        dot=dot(machine, state_type, deletion=True),
    )
