"""Load the sample: plan everybody's life, then let it happen in the order of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from random import Random

from sqlalchemy import func, select

from flask_statemanager import StateManagerError

from .. import accounts, features, purchases
from ..clock import clock
from ..extensions import db, state_manager
from ..models import Account, CreditPackage
from ..payments import charge
from .lives import Act, Agenda, Life

PACKAGES = (
    ("starter", "Starter, 100 credits", 100, 900),
    ("plus", "Plus, 300 credits", 300, 2400),
    ("business", "Business, 1,000 credits", 1000, 6900),
    ("volume", "Volume, 5,000 credits", 5000, 29900),
)
LOGINS = {"admin": ("Ada Admin", "admin-demo-1"), "demo": ("Dora Demo", "demo-demo-1")}
"""Login, name and password of the two users that a person can log in as."""

MONTHS = 6
BATCH = 500
"""Acts in one commit, so that the disk is asked to sync a dozen times and not thousands."""


class NotEmptyError(StateManagerError):
    """There is data already."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded."""

    users: int
    states: int
    acts: int


def is_empty() -> bool:
    """Tell whether neither accounts nor states are there.

    :raises StorageError: when the storage fails.
    """
    return not db.session.scalar(select(func.count()).select_from(Account)) and not state_manager.search_states()


def reset() -> None:
    """Drop all tables, those of the states and their history too, and make them anew."""
    db.drop_all()
    db.create_all()


def load(users: int = 300, seed: int = 7, *, now: datetime | None = None) -> Loaded:
    """Load the sample into an empty database.

    :param users: how many users besides the two demo logins.
    :param seed: the same seed makes the same users and the same lives.
    :param now: where the lives end; the present by default.
    :raises NotEmptyError: when there is data already.
    :raises StateManagerError: when something cannot be written; the batches before it stay.
    """
    if not is_empty():
        raise NotEmptyError("There is data already: pass --reset to replace it.")
    end = now or datetime.now(timezone.utc)
    rng = Random(seed)
    agenda = Agenda(end)
    packages = [_package(*each) for each in PACKAGES]
    begin = end - timedelta(days=30 * MONTHS)
    agenda.plan(begin, partial(_open, agenda))
    for number in range(1, users + 1):
        # The root makes later months busier: the business grows.
        when = begin + timedelta(hours=1) + (end - begin - timedelta(hours=2)) * rng.random() ** 0.6
        agenda.plan(when, Life(agenda, Random(rng.getrandbits(64)), number, packages).register)
    acts = agenda.run(BATCH)
    return Loaded(users + len(LOGINS), state_manager.search_states().count(), acts)


def fill(users: int = 300, seed: int = 7) -> Loaded:
    """Load the sample, and carry out the mails and timers that it leaves.

    :param users: as for :func:`load`.
    :param seed: as for :func:`load`.
    :raises NotEmptyError: when there is data already.
    :raises StateManagerError: when something cannot be written.
    """
    # Its mails are due since months: that a worker is there keeps the log free of a warning.
    state_manager.run_worker()
    loaded = load(users, seed)
    state_manager.run_worker()
    return loaded


def _package(code: str, title: str, size: int, price_cents: int) -> CreditPackage:
    return CreditPackage(code=code, title=title, credits=size, price_cents=price_cents)


def _open(agenda: Agenda) -> None:
    """Open for business: packages, features, and the two users to log in as."""
    db.session.add_all(_package(*each) for each in PACKAGES)
    for key, (description, rollout) in features.FEATURES.items():
        state = features.register(key, description, 0, actor="admin")
        if rollout:
            agenda.later(_switch_on(state.state_id, agenda, rollout), days=20)
    for login, (name, password) in LOGINS.items():
        account = accounts.register(
            login, f"{login}@example.com", name, password=password, country="DE", admin=login == "admin"
        )
        accounts.transition(account.state_id, "activate", actor=login, reason="followed the verification link")
        if login == "demo":
            agenda.plan(agenda.end - timedelta(days=5), partial(_first_purchase, account))


def _switch_on(state_id: str, agenda: Agenda, rollout: int) -> Act:
    def act() -> None:
        state_manager.update_state(state_id, transition="activate", actor="admin", reason="release")
        for step, share in enumerate((rollout // 3, rollout), start=1):
            agenda.later(
                partial(features.set_rollout, state_id, share, actor="admin", reason="wider rollout"),
                days=12 * step,
            )

    return act


def _first_purchase(account: Account) -> None:
    package = db.session.get(CreditPackage, "business")
    assert package is not None, "the packages came first"
    number = f"pay_{clock.now():%Y%m%d}_{account.id:08x}"
    purchase = purchases.open_purchase(account, package, "4242", purchase_id=number, actor="demo")
    purchases.settle(purchase, charge(purchase.state_id, package.price_cents, "4242"))
