"""Logging in and out, registering, following the verification link."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, flash, g, redirect, render_template, request, url_for

from .. import accounts, switches
from ..access import log_in, log_out
from ..extensions import unit_of_work

blueprint = Blueprint("auth", __name__)

SHORTEST_PASSWORD = 8


@blueprint.get("/login")
def login() -> Any:
    """Show the login form."""
    return render_template("login.html", demo=current_app.config["DEMO"], target=_local(request.args.get("next")))


@blueprint.post("/login")
def enter() -> Any:
    """Log in."""
    name = request.form.get("login", "")
    target = _local(request.form.get("next"))
    if log_in(name, request.form.get("password", "")) is None:
        flash("Login and password do not fit, or the account is suspended.", "error")
        return render_template("login.html", demo=current_app.config["DEMO"], target=target, name=name), 401
    return redirect(target or url_for("dashboard.home"))


@blueprint.post("/logout")
def leave() -> Any:
    """Log out."""
    log_out()
    flash("You are logged out.", "note")
    return redirect(url_for("auth.login"))


@blueprint.get("/register")
def register() -> Any:
    """Show the registration form."""
    switches.require("registration")
    return render_template("register.html", form={})


@blueprint.post("/register")
def create() -> Any:
    """Register a user: the account's row and its state in one transaction."""
    switches.require("registration")
    form = request.form
    if len(form.get("password", "")) < SHORTEST_PASSWORD:
        flash(f"Choose a password of at least {SHORTEST_PASSWORD} characters.", "error")
        return render_template("register.html", form=form), 422
    with unit_of_work():
        account = accounts.register(
            form.get("login", ""), form.get("email", ""), form.get("display_name", ""), password=form["password"]
        )
        state_id = account.state_id
    link = url_for("auth.verify", token=accounts.verification_token(state_id))
    return render_template("registered.html", link=link, email=form.get("email", ""))


@blueprint.get("/verify/<token>")
def verify(token: str) -> Any:
    """Follow a verification link.

    :param token: the end of the link.
    """
    state = accounts.verify(token)
    flash(f"{state.data['email']} is verified, the account is {state.status}.", "good")
    return redirect(url_for("dashboard.home") if g.account else url_for("auth.login"))


def _local(target: str | None) -> str | None:
    """Follow only addresses of this site."""
    safe = target is not None and target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if safe else None
