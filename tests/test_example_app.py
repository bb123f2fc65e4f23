"""The example application: its pages, its rules, its sample, and its own check."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from example_app import accounts, counters, create_app, ledger, mails, preferences, purchases, reports, switches
from example_app.__main__ import prepare
from example_app.clock import clock
from example_app.extensions import db, state_manager, unit_of_work
from example_app.features import is_enabled, set_rollout
from example_app.machines import MACHINES
from example_app.models import Account, CreditPackage, LedgerEntry, Notice
from example_app.sample import LOGINS, load
from flask_statemanager import (
    GuardFailed,
    State,
    StateManager,
    StateNotFound,
    StateValidationError,
    TransitionNotAllowed,
)

# The application's manager is its own; the tests beside this one begin with another.
StateManager.reset_instance()

ROOT = Path(__file__).parents[1]
ADMIN, DEMO = "user_1", "user_2"


@pytest.fixture
def closed_connections() -> None:
    """Leave connections open between the tests: an application here serves all tests of this module."""


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    StateManager.reset_instance()
    yield
    StateManager.reset_instance()


MakeApp = Callable[..., Flask]


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    made: list[Flask] = []

    def make(**config: Any) -> Flask:
        # The tests say when the worker works.
        config.setdefault("STATEMANAGER_WORKER", "external")
        config.setdefault("STATEMANAGER_TRACK_REQUESTS", False)
        app = create_app({"INSTANCE_PATH": tmp_path, "TESTING": True, "API_TOKEN": "token", **config})
        made.append(app)
        with app.app_context():
            db.create_all()
        return app

    yield make
    for app in made:
        app.extensions["statemanager"].close()
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """The application with its packages, its features and the two demo users, and nobody else."""
    app = make_app()
    with app.app_context():
        load(0)
    return app


@pytest.fixture
def context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


class Visitor:
    """A test client that fills in the token and the version of the page that it came from."""

    def __init__(self, app: Flask, login: str | None = None) -> None:
        self.client: FlaskClient = app.test_client()
        self.token = ""
        self.get("/login")
        if login is not None:
            self.post("/login", login=login, password=LOGINS[login][1])

    def get(self, path: str, code: int = 200) -> str:
        return self._answered(self.client.get(path), code)

    def post(self, path: str, code: int = 302, **fields: Any) -> str:
        answer = self.client.post(path, data={"csrf_token": self.token, **fields})
        text = self._answered(answer, code)
        if code == 302:
            self.get("/login")  # a new session has a new token
        return text

    def move(self, state: State, name: str, code: int = 302, **fields: Any) -> str:
        fields.setdefault("expect", state.version)
        return self.post(f"/states/{state.state_id}/transition", code, transition=name, **fields)

    def _answered(self, answer: TestResponse, code: int) -> str:
        assert answer.status_code == code, answer.text
        found = re.search(r'name="csrf_token" value="([^"]+)"', answer.text)
        self.token = found[1] if found else self.token
        return answer.text


@pytest.fixture
def admin(app: Flask) -> Visitor:
    return Visitor(app, "admin")


@pytest.fixture
def demo(app: Flask) -> Visitor:
    return Visitor(app, "demo")


def state_of(state_id: str) -> State:
    found = state_manager.get_state(state_id)
    assert found is not None
    return found


def account_row(login: str = "demo") -> Account:
    db.session.expire_all()
    return db.session.execute(select(Account).where(Account.login == login)).scalar_one()


def bought(card: str = "4242", package: str = "starter") -> State:
    found = db.session.get(CreditPackage, package)
    assert found is not None
    return purchases.buy(account_row(), found, card)


# -- logging in ----------------------------------------------------------------------------------------------------


def test_pages_ask_for_a_login_and_operators_pages_for_an_operator(app: Flask, demo: Visitor) -> None:
    stranger = Visitor(app)
    pages = ("/users/", "/features/", "/sessions/", "/mails/")
    for path in ("/", "/purchases/", "/subscriptions/", "/machines/", *pages):
        stranger.get(path, 302)
    for path in (*pages, f"/users/{ADMIN}"):
        demo.get(path, 403)


def test_a_login_goes_on_to_the_page_asked_for_but_never_to_another_site(app: Flask) -> None:
    for target, expected in (("/machines/", "/machines/"), ("//evil.example", "/"), ("https://evil.example", "/")):
        visitor = Visitor(app)
        fields = {"login": "demo", "password": LOGINS["demo"][1], "next": target, "csrf_token": visitor.token}
        assert visitor.client.post("/login", data=fields).location == expected


def test_a_form_without_its_token_is_refused(app: Flask, context: None, admin: Visitor) -> None:
    admin.token = "forged"
    page = admin.move(state_of(DEMO), "suspend", 400)
    assert "token is missing or old" in page
    assert state_of(DEMO).status == "active"


def test_wrong_passwords_and_suspended_users_do_not_get_in(app: Flask, context: None) -> None:
    visitor = Visitor(app)
    visitor.post("/login", 401, login="demo", password="wrong")
    visitor.post("/login", 401, login="nobody", password="wrong")
    state_manager.update_state(DEMO, {"status": "suspended"}, "suspend")
    visitor.post("/login", 401, login="demo", password=LOGINS["demo"][1])


def test_logging_out_ends_the_session_state(app: Flask, context: None, demo: Visitor) -> None:
    session = state_manager.search_states("session", owner=DEMO, status="active")[0]
    assert session.expires_at is not None
    demo.post("/logout")
    assert state_of(session.state_id).status == "expired"
    demo.get("/purchases/", 302)


def test_a_session_ends_by_itself(app: Flask, context: None, demo: Visitor) -> None:
    demo.get("/purchases/")
    with clock.at(datetime.now(timezone.utc) + timedelta(hours=9)):
        demo.get("/purchases/", 302)


def test_registering_writes_account_and_state_and_the_link_verifies(app: Flask, context: None) -> None:
    visitor = Visitor(app)
    fields = {"login": "new", "email": "new@example.com", "display_name": "N", "password": "long enough"}
    page = visitor.post("/register", 200, **fields)
    state = state_of(account_row("new").state_id)
    assert (state.status, state.data["status"], state.version) == ("created", "pending_verification", 1)
    link = re.search(r'id="verify" href="([^"]+)"', page)
    assert link is not None
    visitor.get(link[1], 302)
    visitor.get(link[1], 302)
    state = state_of(state.state_id)
    assert (state.status, state.data["status"], state.version) == ("active", "active", 2)
    assert "not valid" in visitor.get("/verify/forged", 422)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"login": "demo"}, "taken"),
        ({"email": "no address"}, "data.email"),
        ({"display_name": ""}, "data.display_name"),
        ({"password": "short"}, "at least 8"),
    ],
)
def test_a_refused_registration_leaves_no_row(app: Flask, context: None, change: dict[str, str], message: str) -> None:
    fields = {"login": "new", "email": "new@example.com", "display_name": "N", "password": "long enough"}
    assert message in Visitor(app).post("/register", 422, **{**fields, **change})
    assert db.session.scalar(select(func.count()).select_from(Account)) == 2
    assert state_manager.get_states_by_type("user").count() == 2


# -- users ---------------------------------------------------------------------------------------------------------


def test_each_transition_of_a_user_is_a_button_and_works(app: Flask, context: None, admin: Visitor) -> None:
    words = {"suspend": "suspended", "resume": "active", "expire": "closed", "activate": "active"}
    for name, word in words.items():
        assert f'value="{name}"' in admin.get(f"/users/{DEMO}")
        admin.move(state_of(DEMO), name, reason=f"because of {name}")
        assert state_of(DEMO).data["status"] == word
    assert "suspended_reason" not in state_of(DEMO).data
    entry = state_manager.get_recent_changes(DEMO, limit=1)[0]
    assert (entry.actor, entry.source, entry.reason) == ("admin", "states.transition", "because of activate")


def test_suspending_logs_the_user_out_and_writes_a_notice(
    app: Flask, context: None, admin: Visitor, demo: Visitor
) -> None:
    demo.get("/purchases/")
    admin.move(state_of(DEMO), "suspend", reason="chargeback")
    demo.get("/purchases/", 302)
    assert state_manager.search_states("session", owner=DEMO, status="active").count() == 0
    notices = db.session.scalars(select(Notice.text)).all()
    assert notices == ["Your account was suspended: chargeback."]
    assert notices[0] in admin.get(f"/users/{DEMO}")


def test_a_stale_page_gets_a_conflict_and_overwrites_nothing(app: Flask, context: None, admin: Visitor) -> None:
    seen = state_of(DEMO)
    admin.move(seen, "suspend")
    page = admin.move(seen, "resume", 409)
    assert "Somebody else was faster" in page
    assert state_of(DEMO).version == seen.version + 1
    admin.move(seen, "resume", 422, expect="")


def test_what_the_machine_forbids_is_a_friendly_409(app: Flask, context: None, admin: Visitor) -> None:
    page = admin.move(state_of(DEMO), "resume", 409)
    assert "This is not possible now" in page
    assert "allowed now: suspend" in page
    admin.move(state_of(DEMO), "fly", 422)


def test_history_shows_diffs_and_goes_back_by_going_on(app: Flask, context: None, admin: Visitor) -> None:
    admin.move(state_of(DEMO), "suspend", reason="looks odd")
    page = admin.get(f"/users/{DEMO}")
    assert "looks odd" in page
    assert "+ suspended_reason = &#34;looks odd&#34;" in page
    admin.post(f"/states/{DEMO}/rollback", to_version=2, expect=3)
    state = state_of(DEMO)
    assert (state.status, state.version, "suspended_reason" in state.data) == ("active", 4, False)
    admin.post(f"/states/{DEMO}/rollback", 409, to_version=2, expect=3)


def test_a_deleted_user_is_still_shown_to_operators_and_comes_back(app: Flask, context: None, admin: Visitor) -> None:
    admin.move(state_of(DEMO), "delete")
    assert "s-deleted" in admin.get(f"/users/{DEMO}")
    admin.post(f"/states/{DEMO}/rollback", to_version=2, expect=3)
    assert state_of(DEMO).status == "active"


def test_customers_may_do_little(app: Flask, context: None, demo: Visitor) -> None:
    demo.move(state_of(DEMO), "suspend", 403)
    demo.post(f"/states/{DEMO}/rollback", 403, to_version=1, expect=2)
    demo.move(state_of("feature_gift_cards"), "activate", 403)
    assert 'value="suspend"' not in demo.get(f"/users/{DEMO}")


# -- purchases -----------------------------------------------------------------------------------------------------


def test_a_charged_purchase_moves_the_credits(app: Flask, context: None, demo: Visitor) -> None:
    before = account_row().balance
    demo.post("/purchases/buy", package="starter", card="4242")
    entry = db.session.scalars(select(LedgerEntry).order_by(LedgerEntry.id.desc())).first()
    assert entry is not None
    assert account_row().balance == before + entry.amount == entry.balance_after
    state = state_of(entry.reference)
    assert (state.status, state.owner, state.data["amount_cents"]) == ("completed", DEMO, 900)
    assert "In the ledger" in demo.get(f"/purchases/{state.state_id}")


def test_completing_is_atomic_with_the_ledger(context: None, monkeypatch: pytest.MonkeyPatch) -> None:
    before = account_row().balance

    def broken(*_arguments: object) -> int:
        ledger.book(*_arguments)  # type: ignore[arg-type]
        raise RuntimeError("the power fails here")

    monkeypatch.setattr(purchases, "book", broken)
    with pytest.raises(RuntimeError, match="power"):
        bought()
    db.session.remove()
    purchase = state_manager.search_states("purchase", order_by="-created_at")[0]
    assert (purchase.status, purchase.version) == ("pending", 1)
    assert [entry.to_status for entry in state_manager.get_state_history(purchase.state_id)] == ["pending"]
    assert account_row().balance == before
    assert db.session.scalar(select(LedgerEntry).where(LedgerEntry.reference == purchase.state_id)) is None


def test_a_purchase_is_completed_only_once(context: None) -> None:
    purchase, before = bought("0341"), account_row().balance
    assert purchase.status == "pending"
    with unit_of_work():
        purchases.complete(purchase, "sim", expect=1)
    with pytest.raises(TransitionNotAllowed), unit_of_work():
        purchases.complete(purchase, "sim")
    assert account_row().balance - before in (100, 110)


def test_refused_cards_move_nothing(context: None) -> None:
    before = account_row().balance
    for card, error in (("0002", "card_declined"), ("9995", "insufficient_funds")):
        done = bought(card)
        assert (done.status, done.data["error"]) == ("failed", error)
    assert account_row().balance == before
    with pytest.raises(StateValidationError, match="last four digits"):
        bought("12")


def test_operators_settle_and_refund(app: Flask, context: None, admin: Visitor) -> None:
    slow, lost, before = bought("0341"), bought("0341"), account_row().balance
    admin.move(slow, "complete")
    admin.move(lost, "fail", reason="never arrived")
    assert account_row().balance > before
    admin.move(state_of(slow.state_id), "refund", reason="customer request")
    assert account_row().balance == before
    assert [state_of(each.state_id).status for each in (slow, lost)] == ["refunded", "failed"]
    assert f"Your purchase {slow.state_id} was refunded." in admin.get(f"/users/{DEMO}")


def test_a_refund_of_spent_credits_leaves_the_purchase_completed(app: Flask, context: None, admin: Visitor) -> None:
    done = bought()
    with unit_of_work():
        ledger.book(account_row().id, -account_row().balance, "usage", "spent")
    assert "Not enough credits" in admin.move(done, "refund", 409)
    assert (state_of(done.state_id).status, account_row().balance) == ("completed", 0)


def test_refunds_end_after_thirty_days_and_the_page_says_so(app: Flask, context: None, admin: Visitor) -> None:
    with clock.at(datetime.now(timezone.utc) - timedelta(days=31)):
        done = bought()
    with pytest.raises(GuardFailed), unit_of_work():
        purchases.refund(done)
    assert "refunds end thirty days after the payment" in admin.get(f"/purchases/{done.state_id}")
    assert "A rule forbids this now" in admin.move(done, "refund", 409)


def test_the_books_are_neither_deleted_nor_rolled_back(context: None) -> None:
    done = bought()
    with pytest.raises(TransitionNotAllowed):
        state_manager.delete_state(done.state_id)
    with pytest.raises(TransitionNotAllowed, match="in the books"):
        state_manager.rollback_state(done.state_id, 1)


def test_only_active_users_buy(app: Flask, context: None) -> None:
    with clock.at(datetime.now(timezone.utc)):
        state_manager.update_state(DEMO, {"status": "suspended"}, "suspend")
    with pytest.raises(TransitionNotAllowed, match="verified, active"):
        bought()
    state_manager.delete_state(DEMO)
    with pytest.raises(StateNotFound):
        bought()


# -- subscriptions, features, sessions -----------------------------------------------------------------------------


def test_a_subscription_is_paid_renewed_and_cancelled(app: Flask, context: None, admin: Visitor, demo: Visitor) -> None:
    before = account_row().balance
    demo.post("/subscriptions/", plan="basic", cycle="monthly")
    state = state_manager.search_states("subscription", owner=DEMO)[0]
    assert (state.status, account_row().balance) == ("active", before - 100)
    admin.move(state, "renew")
    renewed = state_of(state.state_id)
    assert (renewed.data["period"], account_row().balance) == (2, before - 200)
    admin.post(f"/states/{state.state_id}/rollback", to_version=1, expect=2)
    admin.move(state_of(state.state_id), "renew")
    assert (state_of(state.state_id).data["period"], account_row().balance) == (2, before - 300)
    admin.move(state_of(state.state_id), "miss_payment")
    admin.move(state_of(state.state_id), "recover")
    demo.move(state_of(state.state_id), "cancel")
    assert state_of(state.state_id).status == "cancelled"


def test_a_trial_costs_nothing_and_lapses(context: None, app: Flask, demo: Visitor) -> None:
    before = account_row().balance
    demo.post("/subscriptions/", plan="pro", cycle="monthly", trial="on")
    state = state_manager.search_states("subscription", owner=DEMO)[0]
    assert (state.status, account_row().balance) == ("trialing", before)
    with clock.at(datetime.now(timezone.utc) + timedelta(days=15)):
        assert state_of(state.state_id).status == "expired"
        assert state_manager.search_states("subscription", status="expired").count() == 1


def test_a_subscription_that_cannot_be_paid_leaves_nothing(app: Flask, context: None, demo: Visitor) -> None:
    demo.post("/subscriptions/", 409, plan="team", cycle="yearly")
    demo.post("/subscriptions/", 422, plan="gold", cycle="monthly")
    demo.post("/subscriptions/", 422, plan="basic", cycle="hourly")
    assert state_manager.get_states_by_type("subscription").count() == 0


def test_features_are_switched_and_rolled_out(app: Flask, context: None, admin: Visitor) -> None:
    feature = "feature_gift_cards"
    admin.move(state_of(feature), "activate")
    admin.post(f"/features/{feature}/rollout", rollout=40, expect=2)
    users = [f"user_{number}" for number in range(500)]
    some = {user for user in users if is_enabled("gift_cards", user)}
    assert 150 < len(some) < 250
    set_rollout(feature, 60)
    assert some < {user for user in users if is_enabled("gift_cards", user)}
    admin.post(f"/features/{feature}/rollout", 409, rollout=10, expect=2)
    admin.post(f"/features/{feature}/rollout", 422, rollout=101, expect=4)
    admin.post(f"/features/{feature}/rollout", 422, rollout="many", expect=4)
    admin.move(state_of(feature), "suspend")
    assert not is_enabled("gift_cards", users[0])
    assert not is_enabled("unknown", users[0])


def test_an_operator_ends_a_session(app: Flask, context: None, admin: Visitor, demo: Visitor) -> None:
    session = state_manager.search_states("session", owner=DEMO, status="active")[0]
    assert session.state_id in admin.get("/sessions/?status=active")
    admin.move(session, "expire")
    demo.get("/purchases/", 302)


# -- mails, timers, repetitions ------------------------------------------------------------------------------------


def test_a_suspension_is_mailed_once_by_the_worker(app: Flask, context: None, admin: Visitor, demo: Visitor) -> None:
    admin.move(state_of(DEMO), "suspend", reason="chargeback")
    assert mails.newest() == []
    assert "1 pending, 1 due now, 0 dead; worker none" in admin.get("/mails/")
    assert state_manager.run_worker() == 1
    assert state_manager.run_worker() == 0
    (mail,) = mails.newest(DEMO)
    assert (mail.key, mail.address, mail.attempt) == (f"state:{DEMO}:3:suspension-mail", "demo@example.com", 1)
    assert "chargeback" in mail.text
    for path in ("/mails/", f"/users/{DEMO}"):
        assert mail.key in admin.get(path)
    assert "none dead" in admin.get("/")


def test_a_suspension_that_is_rolled_back_is_not_mailed(context: None) -> None:
    state_manager.update_state(DEMO, {"status": "suspended"}, "suspend", session=db.session)
    db.session.rollback()
    assert state_manager.list_effects() == []
    assert state_manager.run_worker() == 0


def test_a_mail_that_is_refused_for_good_is_a_dead_letter_until_it_is_retried_or_given_up(
    app: Flask, context: None, admin: Visitor
) -> None:
    account_row().email = "demo@bounces.example.com"
    db.session.commit()
    admin.move(state_of(DEMO), "suspend")
    state_manager.run_worker()
    page = admin.get("/mails/")
    assert "0 due now, 1 dead" in page
    assert "correct it, then retry" in page
    effect = state_manager.list_effects(status="dead")[0]
    admin.post(f"/mails/effects/{effect.id}/retry")
    state_manager.run_worker()
    account_row().email = "demo@example.com"
    db.session.commit()
    admin.post(f"/mails/effects/{effect.id}/retry")
    state_manager.run_worker()
    assert [(mail.key, mail.address) for mail in mails.newest()] == [(effect.key, "demo@example.com")]
    assert "cannot be discarded" in admin.post(f"/mails/effects/{effect.id}/discard", 409)


def test_an_operator_gives_a_mail_up(app: Flask, context: None, admin: Visitor) -> None:
    admin.move(state_of(DEMO), "suspend")
    effect = state_manager.list_effects()[0]
    admin.post(f"/mails/effects/{effect.id}/discard")
    assert state_manager.run_worker() == 0
    assert mails.newest() == []


def test_a_suspension_for_some_hours_ends_by_itself(app: Flask, context: None, admin: Visitor) -> None:
    with clock.at(datetime.now(timezone.utc) - timedelta(hours=2)):
        accounts.suspend(DEMO, timedelta(hours=1), reason="chargeback")
    assert "the suspension is over" in admin.get(f"/users/{DEMO}")
    state_manager.run_worker()
    state, entry = state_of(DEMO), state_manager.get_recent_changes(DEMO, limit=1)[0]
    assert (state.status, state.data["status"], "suspended_reason" in state.data) == ("active", "active", False)
    assert (entry.source, entry.reason) == ("timer", "the suspension is over")


def test_a_suspension_that_ends_otherwise_takes_its_timer_along(app: Flask, context: None, admin: Visitor) -> None:
    admin.move(state_of(DEMO), "suspend", hours="24")
    assert [timer.transition for timer in state_manager.list_timers(DEMO)] == ["resume"]
    admin.move(state_of(DEMO), "resume")
    assert state_manager.list_timers(DEMO) == []
    admin.move(state_of(DEMO), "suspend", hours="0.5")
    admin.post(f"/states/{DEMO}/rollback", to_version=2, expect=5)
    assert state_manager.list_timers(DEMO) == []


@pytest.mark.parametrize("hours", ["0", "9000", "-1", "soon", "1e9"])
def test_a_suspension_for_no_time_or_too_much_is_refused(app: Flask, context: None, admin: Visitor, hours: str) -> None:
    admin.move(state_of(DEMO), "suspend", 422, hours=hours)
    assert state_of(DEMO).status == "active"


def test_a_payment_that_does_not_arrive_is_given_up_and_mailed(app: Flask, context: None, admin: Visitor) -> None:
    with clock.at(datetime.now(timezone.utc) - timedelta(minutes=16)):
        waiting = bought("0341")
    assert "because <em>pending</em> may not last longer" in admin.get(f"/purchases/{waiting.state_id}")
    state_manager.run_worker()
    entry = state_manager.get_recent_changes(waiting.state_id, limit=1)[0]
    assert (entry.to_status, entry.actor, entry.source) == ("expired", "system", "deadline")
    assert [mail.subject for mail in mails.newest(DEMO)] == ["Your payment did not arrive"]
    with pytest.raises(TransitionNotAllowed), unit_of_work():
        purchases.complete(waiting, "too late")


def test_a_payment_that_arrives_in_time_is_not_given_up(context: None) -> None:
    with clock.at(datetime.now(timezone.utc) - timedelta(minutes=16)):
        waiting = bought("0341")
        with unit_of_work():
            purchases.complete(waiting, "sim")
    state_manager.run_worker()
    assert state_of(waiting.state_id).status == "completed"


# -- preferences, counters, switches -----------------------------------------------------------------------------------


def test_a_user_chooses_a_theme_and_every_page_has_it(app: Flask, demo: Visitor) -> None:
    assert 'data-theme="light"' in demo.get("/preferences/")
    demo.post("/preferences/", theme="dark", language="de", notices="on")
    page = demo.get("/preferences/")
    assert 'data-theme="dark"' in page
    assert '<option value="de" selected>' in page
    assert 'data-theme="dark"' in demo.get("/nowhere", 404)
    assert 'data-theme="light"' in Visitor(app).get("/login")


def test_a_choice_that_there_is_not_is_refused(app: Flask, context: None, demo: Visitor) -> None:
    assert "Choose one of" in demo.post("/preferences/", 422, theme="pink", language="de")
    assert preferences.of(DEMO) == preferences.DEFAULTS


def test_two_pages_that_change_different_preferences_undo_nothing(context: None) -> None:
    preferences.change(DEMO, {"theme": "dark"})
    assert preferences.change(DEMO, {"language": "de"}) == {"theme": "dark", "language": "de"}
    assert preferences.change(DEMO, {"theme": None}) == {"language": "de"}


def test_notices_are_in_the_language_of_the_user_or_not_written(app: Flask, context: None, admin: Visitor) -> None:
    preferences.change(DEMO, {"language": "de"})
    admin.move(state_of(DEMO), "suspend", reason="chargeback")
    preferences.change(DEMO, {"notices": False})
    admin.move(state_of(DEMO), "resume")
    assert db.session.scalars(select(Notice.text)).all() == ["Ihr Konto wurde gesperrt: chargeback."]


def test_too_many_attempts_to_log_in_have_to_wait(app: Flask, context: None) -> None:
    visitor, began = Visitor(app), datetime.now(timezone.utc)
    with clock.at(began):
        for _ in range(10):
            visitor.post("/login", 401, login="demo", password="wrong")
        form = {"csrf_token": visitor.token, "login": "demo", "password": LOGINS["demo"][1]}
        refused = visitor.client.post("/login", data=form)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "300")
        visitor.post("/login", login="admin", password=LOGINS["admin"][1])
    with clock.at(began + timedelta(seconds=301)):
        visitor.post("/login", login="demo", password=LOGINS["demo"][1])


def test_the_dashboard_counts_visits(app: Flask, context: None, admin: Visitor) -> None:
    before = counters.visits()[0]
    admin.get("/users/")
    assert ">Visits today<" in admin.get("/")
    assert counters.visits()[0] == before + 2
    with clock.at(datetime.now(timezone.utc) + timedelta(days=1)):
        assert counters.visits()[:2] == [0, before + 2]


def test_a_switch_closes_registration_and_shop_at_once(app: Flask, context: None, admin: Visitor) -> None:
    demo, visitor = Visitor(app, "demo"), Visitor(app)
    admin.post("/keys/switches/registration", to="off", expect=0, reason="robots")
    admin.post("/keys/switches/sales", to="off", expect=0)
    page = admin.get("/keys/")
    assert "robots" in page
    assert "switch:registration" in page
    assert "come back later" in visitor.get("/register", 503)
    assert "disabled>Buy</button>" in demo.get("/purchases/buy")
    before = account_row().balance
    demo.post("/purchases/buy", 503, package="starter", card="4242")
    assert account_row().balance == before
    admin.post("/keys/switches/sales", to="on", expect=1)
    demo.post("/purchases/buy", package="starter", card="4242")
    db.session.expire_all()
    assert account_row().balance > before


def test_a_switch_that_somebody_else_has_thrown_meanwhile_stays(app: Flask, context: None, admin: Visitor) -> None:
    admin.post("/keys/switches/sales", to="off", expect=0)
    admin.post("/keys/switches/sales", 409, to="on", expect=0)
    admin.post("/keys/switches/sales", to="on", expect=1)
    assert "Somebody else was faster" in admin.post("/keys/switches/sales", 409, to="off", expect=1)
    assert switches.is_on("sales")
    admin.post("/keys/switches/lights", 404, to="off", expect=0)
    admin.post("/keys/switches/sales", 422, to="perhaps", expect=2)


def test_a_report_is_made_by_one_at_a_time(app: Flask, context: None, admin: Visitor) -> None:
    assert "There is no report yet" in admin.get("/keys/")
    admin.post("/keys/report")
    assert "Report of" in admin.get("/keys/")
    with state_manager.kv.lease(reports.LEASE, reports.LONGEST):
        assert "Somebody else was faster" in admin.post("/keys/report", 409)
    admin.post("/keys/report")
    made = reports.latest()
    assert made is not None
    assert (made.version, made.value["active users"]) == (2, 2)


def test_the_newest_changes_of_keys_are_shown_first(app: Flask, context: None, admin: Visitor) -> None:
    preferences.change(DEMO, {"theme": "dark"})
    switches.throw("sales", False, expect=0, by="admin")
    newest, older = switches.newest_changes()[:2]
    assert (newest.key, newest.new_value) == ("switch:sales", False)
    assert (older.key, older.new_value) == (f"preferences:{DEMO}", {"theme": "dark"})
    assert f"preferences:{DEMO}" in admin.get("/keys/")


# -- lists and pictures --------------------------------------------------------------------------------------------


def test_lists_filter_and_page_by_key(make_app: MakeApp) -> None:
    app = make_app()
    with app.app_context():
        load(30)
    admin, seen, path = Visitor(app, "admin"), [], "/users/?size=7"
    while path:
        page = admin.get(path)
        seen += re.findall(r'<td><a href="/users/(user_\d+)"', page)
        found = re.search(r'href="([^"]+)">Next page', page)
        path = found[1].replace("&amp;", "&") + "&size=7" if found else ""
    with app.app_context():
        assert sorted(seen) == sorted(state.state_id for state in state_manager.get_states_by_type("user"))
    assert re.findall(r'<td><a href="/users/(user_\d+)"', admin.get("/users/?email=demo@")) == [DEMO]
    for path in ("/users/?after=nonsense", "/users/?size=0", "/users/?size=many"):
        admin.get(path, 422)
    for path in ("/", "/purchases/?status=completed&package=starter", "/subscriptions/?plan=pro", "/features/"):
        admin.get(path)


def test_every_machine_is_drawn_inside_its_picture(app: Flask, demo: Visitor) -> None:
    for kind, machine in MACHINES.items():
        page = demo.get(f"/machines/{kind}")
        assert page.count('<g class="box">') == len(machine.statuses)
        assert "stateDiagram-v2" in page
        assert "digraph" in page
    assert "There is no type" in demo.get("/machines/nothing", 404)


def test_pages_load_nothing_from_elsewhere(app: Flask, admin: Visitor) -> None:
    for path in ("/", "/users/", "/machines/user", f"/users/{DEMO}", "/purchases/buy"):
        answer = admin.client.get(path)
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert not re.search(r"<script|<style|<[^>]*\sstyle=|(src|href)=\"https?:", answer.text)


def test_what_does_not_exist_is_a_friendly_404(app: Flask, admin: Visitor) -> None:
    for path in (
        "/nowhere",
        "/users/user_99",
        "/users/..",
        "/purchases/user_1",
        "/sessions/no such",
        "/features/user_1",
    ):
        assert "Start page" in admin.get(path, 404)
    admin.post("/states/user_99/transition", 404, transition="suspend", expect=1)


# -- the API -------------------------------------------------------------------------------------------------------


@pytest.fixture
def api(app: Flask) -> Callable[..., TestResponse]:
    def call(method: str, path: str, body: Any = None, bearer: str = "token", key: str = "") -> TestResponse:
        headers = {"Authorization": f"Bearer {bearer}", **({"Idempotency-Key": key} if key else {})}
        return app.test_client().open(f"/api/{path}", method=method, json=body, headers=headers)

    return call


Api = Callable[..., TestResponse]


def test_the_api_asks_for_its_token(api: Api) -> None:
    answer = api("GET", "users", bearer="wrong")
    assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert api("GET", "health", bearer="wrong").json == {
        "backend": "sql", "cache": "off", "cache_hit_rate": 0.0, "state_count": 7, "status": "healthy",
        "effects": {"dead": 0, "due": 0, "pending": 0, "waiting": 0.0, "worker": "none"},
        "warnings": [],
    }  # fmt: skip


def test_the_api_registers_moves_and_tells(api: Api) -> None:
    body = {"login": "api", "email": "api@example.com", "display_name": "A"}
    created = api("POST", "users", body)
    assert created.status_code == 201
    path = created.headers["Location"].removeprefix("/api/")
    assert api("GET", path).json["allowed_transitions"][0] == "activate"
    moved = api("POST", f"{path}/transitions", {"transition": "activate", "expect": 1, "reason": "by hand"})
    assert (moved.json["status"], moved.json["version"]) == ("active", 2)
    entries = api("GET", f"{path}/history").json["items"]
    assert [entry["transition_type"] for entry in entries] == ["create", "activate"]
    assert entries[1]["diff"][0]["op"] in ("add", "replace")
    newest = api("GET", f"changes?limit=1&state_id={path.removeprefix('users/')}").json["items"]
    assert newest[0]["reason"] == "by hand"


def test_the_api_sells_and_refunds(api: Api) -> None:
    order = {"user_id": DEMO, "package": "plus", "card": "4242"}
    done = api("POST", "purchases", order)
    assert (done.status_code, done.json["status"]) == (201, "completed")
    path = f"purchases/{done.json['state_id']}/transitions"
    assert api("POST", path, {"transition": "refund"}).json["status"] == "refunded"
    again = api("POST", path, {"transition": "refund"})
    assert (again.status_code, again.json["status_now"], again.json["allowed"]) == (409, "refunded", [])
    assert api("POST", "purchases", {**order, "user_id": "user_99"}).status_code == 404
    assert api("POST", "purchases", {**order, "package": "none"}).status_code == 422


def test_the_api_pages_through_everything(make_app: MakeApp) -> None:
    app = make_app()
    with app.app_context():
        load(25)
    client, headers = app.test_client(), {"Authorization": "Bearer token"}
    for name in ("users", "purchases", "subscriptions", "features"):
        path, seen, total = f"/api/{name}?size=4", [], -1
        while path:
            answer = client.get(path, headers=headers).json
            seen += [state["state_id"] for state in answer["items"]]
            path, total = answer["next"], answer["total"]
        assert len(seen) == len(set(seen)) == total


def message(purchase: State, **changes: Any) -> dict[str, Any]:
    """What the payment provider says of a purchase."""
    moment = "2026-01-31T12:00:00Z"
    return {"purchase_id": purchase.state_id, "outcome": "charged", "reference": "evt", "at": moment, **changes}


def test_a_webhook_that_comes_in_parallel_counts_once(app: Flask, context: None) -> None:
    waiting, before, racers = bought("0341"), account_row().balance, 4
    barrier = threading.Barrier(racers)

    def deliver(_number: int) -> TestResponse:
        headers = {"Authorization": "Bearer token", "Idempotency-Key": "evt_1"}
        client = app.test_client()
        barrier.wait(30)
        return client.post("/api/payments/webhook", json=message(waiting), headers=headers)

    with ThreadPoolExecutor(racers) as pool:
        answers = list(pool.map(deliver, range(racers)))
    assert [answer.status_code for answer in answers] == [200] * racers
    assert len({answer.text for answer in answers}) == 1
    assert account_row().balance - before in (100, 110)
    assert [entry.to_status for entry in state_manager.get_state_history(waiting.state_id)] == ["pending", "completed"]


def test_a_webhook_tells_of_a_refusal_and_needs_its_key(api: Api, context: None) -> None:
    waiting, other = bought("0341"), bought("0341")
    refusal = message(waiting, outcome="refused", error="card_declined")
    assert api("POST", "payments/webhook", refusal).status_code == 400
    for _ in range(2):
        answer = api("POST", "payments/webhook", refusal, key="evt_2")
        assert (answer.status_code, answer.json["status"], answer.json["data"]["error"]) == (
            200, "failed", "card_declined",
        )  # fmt: skip
    assert api("POST", "payments/webhook", message(other), key="evt_3").json["status"] == "completed"
    reused = api("POST", "payments/webhook", message(other, reference="another"), key="evt_3")
    assert (reused.status_code, reused.json["title"]) == (422, "The key belongs to another request")
    assert api("POST", "payments/webhook", message(waiting), key="evt_4").status_code == 409


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "users/user_99", None, 404),
        ("GET", "users/feature_gift_cards", None, 404),
        ("GET", "nothing", None, 404),
        ("DELETE", "users", None, 405),
        ("GET", "users?status=no+word", None, 422),
        ("POST", "users", {"login": 1}, 422),
        ("POST", "users", [], 400),
        ("PATCH", "features/feature_gift_cards", {"rollout": 101}, 422),
        ("PATCH", "features/feature_gift_cards", {"rollout": True}, 422),
        ("PATCH", "features/feature_gift_cards", {}, 422),
        ("PATCH", "features/feature_gift_cards", {"rollout": 5, "expect": 7}, 409),
        ("PATCH", "features/feature_gift_cards", {"rollout": 5}, 200),
    ],
)
def test_the_api_answers_with_the_right_code(api: Api, method: str, path: str, body: Any, code: int) -> None:
    answer = api(method, path, body)
    assert answer.status_code == code, answer.text
    if code >= 400:
        assert answer.mimetype == "application/problem+json"
        assert answer.json["status"] == code


def test_the_api_refuses_who_asks_too_often(make_app: MakeApp) -> None:
    app = make_app(API_LIMIT=3)
    headers = {"Authorization": "Bearer token"}
    answers = [app.test_client().get("/api/changes", headers=headers) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert answers[-1].mimetype == "application/problem+json"
    assert app.test_client().get("/api/health").status_code == 200


# -- sample, check, servers ----------------------------------------------------------------------------------------


def test_the_load_command_fills_an_empty_database_and_refuses_a_full_one(make_app: MakeApp) -> None:
    runner = make_app().test_cli_runner()
    command = ["credit", "load", "--users", "20"]
    first = runner.invoke(args=command)
    assert (first.exit_code, first.output.split(" in ")[0].split(" with ")[0]) == (0, "Loaded 22 users")
    refused = runner.invoke(args=command)
    assert refused.exit_code == 1
    assert "--reset" in refused.output
    assert runner.invoke(args=[*command, "--reset"]).exit_code == 0


def test_the_sample_is_the_same_for_the_same_seed_and_its_books_are_right(tmp_path: Path) -> None:
    now = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    worlds = []
    for name in ("one", "two"):
        app = create_app({"INSTANCE_PATH": tmp_path / name})
        with app.app_context():
            db.create_all()
            load(40, seed=3, now=now)
            entries = state_manager.get_recent_changes(limit=10_000)
            worlds.append([(e.state_id, e.version, e.timestamp, e.to_status, e.new_data) for e in entries])
            booked = select(func.sum(LedgerEntry.amount)).where(LedgerEntry.account_id == Account.id).scalar_subquery()
            rows = db.session.execute(select(Account.balance, func.coalesce(booked, 0))).all()
            assert all(balance == total >= 0 for balance, total in rows)
            stamps = [entry.timestamp for entry in entries]
            assert stamps == sorted(stamps, reverse=True)
            assert {entry.timestamp[:7] for entry in entries} >= {"2025-09", "2025-10", "2025-11", "2025-12", "2026-01"}
            db.session.remove()
            db.engine.dispose()
    assert worlds[0] == worlds[1]


def test_the_check_walks_through_the_application_and_succeeds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "example_app", "--check"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("  ok     ") == 46
    assert done.stdout.rstrip().endswith("The server is stopped.")
    assert "FAILED" not in done.stdout


def test_it_runs_on_postgresql_and_redis(make_app: MakeApp, postgres_url: str, redis_url: str) -> None:
    app = make_app(
        SQLALCHEMY_DATABASE_URI=postgres_url, REDIS_URL=redis_url, SQLALCHEMY_ENGINE_OPTIONS={"pool_size": 2},
        STATEMANAGER_REDIS_URL=redis_url, STATEMANAGER_KV_BACKEND="redis",
    )  # fmt: skip
    prepare(app, 5)
    admin, demo = Visitor(app, "admin"), Visitor(app, "demo")
    with app.app_context():
        before = account_row().balance
        demo.post("/purchases/buy", package="starter", card="4242")
        done = state_manager.search_states("purchase", owner=DEMO, order_by="-created_at")[0]
        assert account_row().balance > before
        admin.move(done, "refund")
        assert account_row().balance == before
        admin.move(state_of(DEMO), "suspend", reason="chargeback")
        demo.get("/purchases/", 302)
        admin.move(state_of(DEMO), "resume")
        admin.post(f"/states/{DEMO}/rollback", to_version=3, expect=4)
        assert [entry.to_status for entry in state_manager.get_state_history(DEMO)][-3:] == [
            "suspended", "active", "suspended",
        ]  # fmt: skip
        health = state_manager.get_health_status()
        # The tests' Redis keeps nothing on a disk, of which the report warns.
        assert (health["status"], health["cache"]) == ("degraded", "on")
        assert "does not outlive a restart of Redis" in health["warnings"][0]
        admin.post("/keys/switches/sales", to="off", expect=0)
        assert "switch:sales" in admin.get("/keys/")
        assert health["cache_hit_rate"] > 0.2
        assert "cache on" in admin.get("/")
        state_manager.run_worker()
        assert [mail.key for mail in mails.newest(DEMO)] == [f"state:{DEMO}:3:suspension-mail"]
        db.session.remove()
