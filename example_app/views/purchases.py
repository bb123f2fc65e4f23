"""Purchases: the list, the page of one, and the form to buy."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from sqlalchemy import select

from .. import switches
from ..access import login_required
from ..extensions import db
from ..features import is_enabled
from ..machines import PURCHASE
from ..models import CreditPackage, LedgerEntry
from ..payments import TEST_CARDS
from ..purchases import BONUS_FEATURE, buy
from .listing import listing
from .states import state_page

blueprint = Blueprint("purchases", __name__, url_prefix="/purchases")

FILTERS = {"package": "data.package", "card": "data.card", "error": "data.error"}


@blueprint.get("/")
@login_required
def index() -> Any:
    """List purchases, newest first: all for operators, their own for users."""
    owner = None if g.account.is_admin else g.account.state_id
    return render_template(
        "purchases.html", found=listing(PURCHASE, filters=FILTERS, owner=owner), packages=_packages(), cards=TEST_CARDS
    )


@blueprint.get("/<state_id>")
@login_required
def show(state_id: str) -> Any:
    """Show a purchase with what it moved in the ledger.

    :param state_id: the purchase.
    """
    entries = select(LedgerEntry).where(LedgerEntry.reference == state_id).order_by(LedgerEntry.id)
    return state_page(state_id, PURCHASE, "purchase.html", entries=db.session.scalars(entries).all())


@blueprint.get("/buy")
@login_required
def choose() -> Any:
    """Show what there is to buy."""
    return render_template(
        "buy.html",
        packages=_packages(),
        cards=TEST_CARDS,
        bonus=is_enabled(BONUS_FEATURE, g.account.state_id),
        open=switches.is_on("sales"),
    )


@blueprint.post("/buy")
@login_required
def order() -> Any:
    """Buy a package."""
    switches.require("sales")
    package = db.session.get(CreditPackage, request.form.get("package", ""))
    if package is None:
        abort(422, "Choose a package.")
    done = buy(g.account, package, request.form.get("card", ""))
    flash(f"The purchase is {done.status}.", {"completed": "good", "failed": "error"}.get(done.status, "note"))
    return redirect(url_for("purchases.show", state_id=done.state_id))


def _packages() -> list[CreditPackage]:
    return list(db.session.scalars(select(CreditPackage).order_by(CreditPackage.credits)))
