"""What users do: each act happens at its moment, and plans the acts that follow from it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from random import Random

from flask_statemanager import State

from .. import accounts, logins, purchases, subscriptions
from ..clock import clock
from ..extensions import db, state_manager, unit_of_work
from ..ledger import NotEnoughCreditsError, book
from ..machines import PAYMENT_WINDOW
from ..models import Account, CreditPackage
from ..payments import charge
from .people import BROWSERS, SUSPICIONS, person

Act = Callable[[], object]

CARDS = ("4242",) * 16 + ("0002", "9995", "0341")
WEIGHTS = (55, 30, 12, 3)
"""How often each package is bought."""
PLANS = ("basic", "basic", "basic", "pro", "pro", "team")


class Agenda:
    """The acts still to come, in the order of time; those behind the end are never done.

    :param end: the present.
    """

    def __init__(self, end: datetime) -> None:
        self.end = end
        self._acts: list[tuple[datetime, int, Act]] = []
        self._count = 0

    def plan(self, moment: datetime, act: Act) -> None:
        """Put an act on the agenda.

        :param moment: when.
        :param act: what.
        """
        if moment < self.end:
            self._count += 1
            heapq.heappush(self._acts, (moment, self._count, act))

    def later(self, act: Act, *, days: float) -> None:
        """Put an act on the agenda, counted from the present moment of the clock.

        :param act: what.
        :param days: how much later.
        """
        self.plan(clock.now() + timedelta(days=days), act)

    def run(self, batch: int) -> int:
        """Do every act at its moment.

        :param batch: how many acts go into one commit.
        :returns: how many acts there were.
        """
        done = 0
        while self._acts:
            with unit_of_work():
                for _ in range(min(batch, len(self._acts))):
                    moment, _, act = heapq.heappop(self._acts)
                    with clock.at(moment):
                        act()
                    done += 1
        return done


class Life:
    """One user's acts.

    :param agenda: where the acts are planned.
    :param rng: the source of chance.
    :param number: which user.
    :param packages: what can be bought.
    """

    def __init__(self, agenda: Agenda, rng: Random, number: int, packages: list[CreditPackage]) -> None:
        self.agenda = agenda
        self.rng = rng
        self.number = number
        self.packages = packages
        self.bought = 0
        self.subscribed = 0
        self.login, self.display_name, self.country = person(rng, number)
        self.account: Account

    def register(self) -> None:
        """Register, and most likely verify the address."""
        email = f"{self.login}@example.com"
        self.account = accounts.register(self.login, email, self.display_name, country=self.country)
        if self.rng.random() < 0.9:
            self.agenda.later(self.verify, days=self.rng.expovariate(2))

    def verify(self) -> None:
        """Follow the link, and begin to use the account."""
        accounts.transition(
            self.account.state_id, "activate", actor=self.login, reason="followed the verification link"
        )
        self.agenda.later(self.visit, days=self.rng.uniform(0, 3))
        if self.rng.random() < 0.8:
            self.agenda.later(self.buy, days=self.rng.expovariate(0.4))
        if self.rng.random() < 0.1:
            self.agenda.later(self.suspend, days=self.rng.uniform(5, 120))
        if self.rng.random() < 0.04:
            self.agenda.later(self.close, days=self.rng.uniform(20, 150))

    @property
    def active(self) -> bool:
        """Whether the user may act now."""
        state = state_manager.get_state(self.account.state_id)
        return state is not None and state.status == "active"

    def visit(self) -> None:
        """Log in, spend some credits, and come back another day."""
        if not self.active:
            return
        if self.agenda.end - clock.now() < timedelta(days=3):
            address = f"192.0.2.{self.rng.randrange(1, 255)}"
            session_id = f"session_{self.rng.getrandbits(96):024x}"
            agent = self.rng.choice(BROWSERS)
            self.ends(logins.begin(self.account, address=address, agent=agent, session_id=session_id))
        try:
            book(self.account.id, -self.rng.randrange(10, 120), "usage", f"usage_{self.rng.getrandbits(48):012x}")
        except NotEnoughCreditsError:
            if self.bought:
                self.agenda.later(self.buy, days=self.rng.uniform(0, 4))
        self.agenda.later(self.visit, days=self.rng.expovariate(1 / 12))

    def buy(self) -> None:
        """Buy a package, and perhaps regret it, subscribe, or buy again."""
        if not self.active:
            return
        self.bought += 1
        card = self.rng.choice(CARDS)
        purchase = purchases.open_purchase(
            self.account,
            self.rng.choices(self.packages, WEIGHTS)[0],
            card,
            purchase_id=f"pay_{clock.now():%Y%m%d}_{self.rng.getrandbits(32):08x}",
            actor=self.login,
        )
        done = purchases.settle(purchase, charge(purchase.state_id, purchase.data["amount_cents"], card))
        if done.status == "pending":
            self._wait_for_the_bank(done)
        if done.status == "failed":
            self.agenda.later(self.buy, days=0.01)
            return
        if done.status == "completed" and self.rng.random() < 0.05:
            self.agenda.later(partial(self.refund, done), days=self.rng.uniform(0.1, 8))
        if not self.subscribed and self.rng.random() < 0.45:
            self.agenda.later(self.subscribe, days=self.rng.uniform(0, 5))
        if self.rng.random() < 0.7:
            self.agenda.later(self.buy, days=self.rng.uniform(15, 60))

    def _wait_for_the_bank(self, purchase: State) -> None:
        if self.rng.random() < 0.6:
            moment = clock.now() + PAYMENT_WINDOW * self.rng.uniform(0.1, 0.9)
            self.agenda.plan(moment, partial(self.settle, purchase))
        else:
            self.agenda.plan(clock.now() + PAYMENT_WINDOW, partial(self.give_up, purchase))

    def settle(self, purchase: State) -> None:
        """Learn what became of a slow payment.

        :param purchase: the pending purchase.
        """
        purchases.complete(purchase, f"sim_{purchase.state_id}", reason="the bank answered")

    def give_up(self, purchase: State) -> None:
        """Meet the deadline of a payment, as a worker would have done then.

        :param purchase: the pending purchase.
        """
        state_manager.update_state(purchase.state_id, transition="expire", actor="system", source="deadline")

    def ends(self, state: State) -> None:
        """Let a state expire at its time, as a worker would have done then, unless it has got another time by then.

        :param state: a state that expires.
        """
        assert state.expires_at is not None, "only such are passed"
        moment = datetime.fromisoformat(state.expires_at.replace("Z", "+00:00")) - timedelta(seconds=1)
        self.agenda.plan(moment, partial(self.expire, state.state_id, state.expires_at))

    def expire(self, state_id: str, expires_at: str) -> None:
        """Write down that a state expires.

        :param state_id: which.
        :param expires_at: the time that is over.
        """
        state = state_manager.get_state(state_id)
        if state is None or state.get("expires_at") != expires_at:
            return
        if "expire" in state_manager.allowed_transitions(state_id):
            state_manager.update_state(state_id, transition="expire", actor="system", source="expiry")

    def refund(self, purchase: State) -> None:
        """Ask for the money back, which works only while the credits are there.

        :param purchase: the completed purchase.
        """
        try:
            with db.session.begin_nested():
                purchases.refund(purchase, reason="customer request", actor="admin")
        except NotEnoughCreditsError:
            pass

    def subscribe(self) -> None:
        """Subscribe to a plan, often with a trial."""
        if not self.active or self.subscribed:
            return
        plan = self.rng.choice(PLANS)
        cycle = "yearly" if self.rng.random() < 0.1 else "monthly"
        trial = self.rng.random() < 0.5
        subscription_id = f"sub_{self.rng.getrandbits(40):010x}"
        try:
            with db.session.begin_nested():
                state = subscriptions.subscribe(
                    self.account, plan, cycle, trial=trial, subscription_id=subscription_id, actor=self.login
                )
        except NotEnoughCreditsError:
            return
        self.subscribed += 1
        self.ends(state)
        wait = subscriptions.TRIAL if trial else subscriptions.CYCLES[cycle]
        name = "activate" if trial else "renew"
        self.agenda.later(partial(self.next_cycle, state.state_id, name), days=wait / timedelta(days=1) - 0.2)

    def next_cycle(self, subscription_id: str, name: str) -> None:
        """Pay the next cycle, miss the payment, or cancel.

        :param subscription_id: the subscription.
        :param name: the transition that pays.
        """
        state = state_manager.get_state(subscription_id)
        if state is None or name not in state_manager.allowed_transitions(subscription_id) or not self.active:
            return
        if self.rng.random() < (0.25 if name == "activate" else 0.07):
            state_manager.update_state(subscription_id, transition="cancel", actor=self.login, reason="too expensive")
            return
        try:
            with db.session.begin_nested():
                state = subscriptions.pay(state, name, actor="billing")
        except NotEnoughCreditsError:
            if name == "renew":
                self.ends(subscriptions.miss(state, actor="billing", reason="the balance does not cover it"))
                days = self.rng.uniform(2, 20)
                self.agenda.later(self.buy, days=days)
                self.agenda.later(partial(self.next_cycle, subscription_id, "recover"), days=days + 0.1)
            return
        self.ends(state)
        days = subscriptions.CYCLES[state.data["cycle"]] / timedelta(days=1)
        self.agenda.later(partial(self.next_cycle, subscription_id, "renew"), days=days - 0.2)

    def suspend(self) -> None:
        """Be suspended by an operator, most likely for some days."""
        if not self.active:
            return
        accounts.transition(self.account.state_id, "suspend", actor="admin", reason=self.rng.choice(SUSPICIONS))
        if self.rng.random() < 0.65:
            self.agenda.later(self.resume, days=self.rng.uniform(1, 15))

    def resume(self) -> None:
        """Be active again."""
        if state_manager.can(self.account.state_id, "resume"):
            accounts.transition(self.account.state_id, "resume", actor="admin", reason="cleared with the customer")
            self.agenda.later(self.visit, days=self.rng.uniform(0, 2))

    def close(self) -> None:
        """Leave, and now and then ask to be deleted."""
        if not self.active:
            return
        if self.rng.random() < 0.3:
            state_manager.delete_state(self.account.state_id, actor="admin", reason="erasure request")
        else:
            accounts.transition(self.account.state_id, "expire", actor=self.login, reason="closed the account")
