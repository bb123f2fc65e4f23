"""The conversations of the example application: the page, the phone, the webhook, what they ask the credit system."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from example_app import create_app
from example_app.chat import messaging, whatsapp
from example_app.extensions import db, state_manager
from example_app.models import Account, ChatMessage, LedgerEntry
from flask_statemanager import StateManager
from flask_statemanager.flows import Message
from flask_statemanager.flows.channel import Channel

StateManager.reset_instance()
WEBHOOK = "/webhooks/whatsapp"
SECRET = "secret"
TOKEN = {"Authorization": "Bearer token"}


@pytest.fixture
def closed_connections() -> None:
    """Leave that to the application, whose requests have connections open until it ends."""


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    StateManager.reset_instance()
    yield
    StateManager.reset_instance()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = create_app(
        {
            "INSTANCE_PATH": tmp_path,
            "TESTING": True,
            "API_TOKEN": "token",
            "WHATSAPP_SECRET": "secret",
            "WHATSAPP_VERIFY_TOKEN": "verify",
            "STATEMANAGER_WORKER": "external",
        }
    )
    with app.app_context():
        db.create_all()
        db.session.add(Account(login="demo", email="demo@example.com", display_name="Dora Demo"))
        db.session.commit()
    yield app
    app.extensions["statemanager"].close()
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    return app.test_client()


def say(browser: FlaskClient, *texts: str, side: str = "say") -> str:
    """Write something on the page, and return what it shows."""
    page = browser.get("/chat/").text
    for text in texts:
        form = {name: re.findall(f'name="{name}" value="([^"]+)"', page)[0] for name in ("csrf_token", "nonce")}
        page = browser.post(f"/chat/{side}", data={**form, "text": text}, follow_redirects=True).text
    return page


def deliver(app: Flask, body: bytes, secret: str = SECRET) -> Any:
    headers = {whatsapp.SIGNATURE: whatsapp.signature_of(body, secret)}
    return app.test_client().post(WEBHOOK, data=body, headers=headers, content_type="application/json")


def lines(app: Flask, channel: str) -> list[str]:
    with app.app_context():
        return [line.text for line in db.session.query(ChatMessage).filter_by(channel=channel).order_by(ChatMessage.id)]


def test_an_offer_goes_from_the_page_over_the_phone_to_the_ledger(app: Flask, browser: FlaskClient) -> None:
    assert "What is your last name?" in say(browser, "hello", "Nora")
    assert "your balance is 50 credits" in say(browser, "Newcomer")
    page = say(browser, "offer", "much", "12", "back", "7", "demo", "no", "code")
    code = re.findall(r"link (\d{6})", page)[-1]
    say(browser, "offer", "9")
    assert "Send 9 credits to demo?" in say(browser, f"link {code}", "demo", side="phone")
    assert "Done: 9 credits went to demo." in say(browser, "yes")
    with app.app_context():
        moved = {(entry.kind, entry.amount) for entry in db.session.query(LedgerEntry)}
    assert moved == {("welcome", 50), ("offer", -9), ("receipt", 9)}


def test_a_code_counts_for_one_channel(app: Flask, browser: FlaskClient) -> None:
    code = re.findall(r"link (\d{6})", say(browser, "hello", "Nora", "Newcomer", "code"))[-1]
    link = {"code": code, "channel": "whatsapp:1"}
    client = app.test_client()
    answers = [client.post("/api/links", json=link, headers=TOKEN).status_code for _ in range(2)]
    assert answers == [200, 200], "a request that is repeated gets the same answer"
    assert client.post("/api/links", json={**link, "channel": "whatsapp:2"}, headers=TOKEN).status_code == 422
    assert client.post("/api/links", json={**link, "code": "12345x"}, headers=TOKEN).status_code == 422
    assert "This code does not count" in say(app.test_client(), f"link {code}", side="phone")


def test_a_request_that_is_repeated_moves_credits_once(app: Flask, browser: FlaskClient) -> None:
    say(browser, "hello", "Nora", "Newcomer")
    client = app.test_client()
    body = {"from": "user_2", "to": "demo", "amount": 5}
    keyed = {**TOKEN, "Idempotency-Key": "once"}
    answers = [client.post("/api/offers", json=body, headers=keyed).json for _ in range(2)]
    assert answers[0]["data"]["action"] == answers[1]["data"]["action"]
    assert client.get("/api/members/user_2", headers=TOKEN).json["data"]["dashboard"]["account"]["balance"] == 45
    assert client.post("/api/offers", json=body, headers=TOKEN).status_code == 400
    assert client.post("/api/offers", json={**body, "amount": True}, headers=keyed).status_code == 422
    assert client.post("/api/offers", json={**body, "to": 7}, headers=keyed).status_code == 422
    assert client.post("/api/offers", json=[], headers=keyed).status_code == 400
    assert (
        client.post("/api/offers", json={**body, "amount": 900}, headers={**TOKEN, "Idempotency-Key": "2"}).status_code
        == 409
    )
    assert client.get("/api/members/user_99", headers=TOKEN).status_code == 404
    assert client.get("/api/members/user_2").status_code == 401


def test_a_credit_system_that_refuses_is_told_in_the_chat(browser: FlaskClient) -> None:
    page = say(browser, "hello", "Nora", "Newcomer", "offer", "900", "demo", "yes")
    assert "The balance does not cover the offer of 900 credits" in page


def test_the_webhook_takes_each_message_once_and_nothing_that_is_not_signed(app: Flask) -> None:
    body = whatsapp.delivery_of("15550100", "hello", "wamid.1")
    assert deliver(app, body, "another secret").status_code == 401
    assert app.test_client().post(WEBHOOK, data=body).status_code == 401
    assert [deliver(app, body).json for _ in range(3)] == [{"messages": 1}] * 3
    assert len(lines(app, "whatsapp:15550100")) == 3
    no_text = json.loads(whatsapp.delivery_of("15550100", "", "wamid.2"))
    assert deliver(app, json.dumps(no_text).encode()).json == {"messages": 1}
    assert "(something that is no text)" in lines(app, "whatsapp:15550100")


@pytest.mark.parametrize(
    "body",
    [b"no JSON", b"[" * 100_000, b"[]", b"{}", b'{"entry": [7, {"changes": [{"value": {"messages": [{}]}}]}]}'],
)
def test_what_is_no_message_is_passed_over(app: Flask, body: bytes) -> None:
    assert deliver(app, body).json == {"messages": 0}


def test_a_message_that_cannot_be_kept_is_no_obstacle_for_those_behind_it(app: Flask) -> None:
    sent = json.loads(whatsapp.delivery_of("15550100", "he\0llo\ud800", "wamid.1"))
    messages = sent["entry"][0]["changes"][0]["value"]["messages"]
    good = messages[0]
    messages[:0] = [{**good, "id": "i" * 3000}, {**good, "from": "9" * 500}, {**good, "id": "a\0b"}]
    assert deliver(app, json.dumps(sent).encode()).json == {"messages": 1}
    assert lines(app, "whatsapp:15550100")[0] == "hello"


def test_the_webhook_proves_that_it_is_ours(app: Flask) -> None:
    asked = {"hub.mode": "subscribe", "hub.verify_token": "verify", "hub.challenge": "42"}
    assert app.test_client().get(WEBHOOK, query_string=asked).text == "42"
    assert app.test_client().get(WEBHOOK, query_string={**asked, "hub.verify_token": "x"}).status_code == 403


def test_a_form_that_is_no_message_is_refused(browser: FlaskClient) -> None:
    page = browser.get("/chat/").text
    token = re.findall('name="csrf_token" value="([^"]+)"', page)[0]
    for form in ({"text": "", "nonce": "a" * 24}, {"text": "x", "nonce": "?"}, {"text": "x" * 501, "nonce": "a" * 24}):
        assert browser.post("/chat/say", data={**form, "csrf_token": token}).status_code == 422


def test_what_is_sent_again_is_shown_once(app: Flask) -> None:
    with app.app_context():
        for _ in range(2):
            messaging.ChatMessaging().send(Message(Channel("web", "v"), {"text": "hello"}, "key"))
    assert lines(app, "web:v") == ["hello"]


def test_answers_go_to_whatsapp_where_it_is_connected(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    app.config.update(WHATSAPP_URL="http://127.0.0.1:9/messages", WHATSAPP_TOKEN="t")
    asked: list[Any] = []

    class Opened:
        def __enter__(self) -> None: ...
        def __exit__(self, *raised: object) -> None: ...

    def opened(request: Any, timeout: float) -> Opened:
        asked.append((request.full_url, json.loads(request.data), request.headers["Authorization"]))
        return Opened()

    monkeypatch.setattr(messaging, "urlopen", opened)
    assert deliver(app, whatsapp.delivery_of("15550100", "hello", "wamid.1")).status_code == 200
    url, body, authorization = asked[0]
    assert (url, authorization, body["to"]) == ("http://127.0.0.1:9/messages", "Bearer t", "15550100")
    assert body["text"]["body"].startswith("Welcome")
    assert body["biz_opaque_callback_data"]


def test_the_sample_client_sends_what_whatsapp_would(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    class Answer:
        status = 200

        def __enter__(self) -> Answer:
            return self

        def __exit__(self, *raised: object) -> None: ...

        def read(self) -> bytes:
            return b"{}"

    monkeypatch.setenv("CREDIT_WHATSAPP_SECRET", "secret")
    monkeypatch.setattr(whatsapp, "urlopen", lambda request, timeout: sent.append(request) or Answer())
    assert whatsapp.main(["hello", "--number", "1", "--id", "wamid.1"]) == 0
    (request,) = sent
    assert whatsapp.is_signed(request.data, "secret", request.headers[whatsapp.SIGNATURE.capitalize()])
    assert [each.text for each in whatsapp.messages_in(json.loads(request.data))] == ["hello"]


def test_a_logged_in_user_is_known_in_the_chat(app: Flask) -> None:
    with app.app_context():
        state_manager.flows.receive("web", "user_1", "hello")
        assert state_manager.flows.open("web", "user_1").get_member_id() == "user_1"
        assert state_manager.flows.open("web", "user_1").get("profile") == {"firstname": "Dora", "handle": "demo"}
