"""The frame of the admin pages: who is let in, what a form must bring along, and what a page never does."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import unquote

import flask
import pytest
from flask import Response, session
from itsdangerous import TimestampSigner
from jinja2 import DictLoader

from flask_statemanager import ConfigurationError, StateNotFound, StateValidationError
from flask_statemanager.admin.answers import Done, Download, Shown
from flask_statemanager.admin.entrance import is_below
from flask_statemanager.admin.mounting import mount
from flask_statemanager.admin.page import Pages
from flask_statemanager.admin.visit import Visit
from flask_statemanager.config import Settings
from tests.admin_client import PREFIX, Operator, an_admin_world, text_of
from tests.forging import tampered
from tests.test_web_identity import TOKENS, bearer
from tests.worlds import World, build, entered

PET = """{% extends "statemanager_admin/base.html" %}
{% import "statemanager_admin/macros.html" as ui with context %}
{% block title %}{{ name }}{% endblock %}
{% block main %}<h1>{{ name }}</h1><p>secret {{ visit.covered({"token": "s3cret"}) }}</p>
{{ ui.form_start('feed', {'name': name}) }}{{ ui.field('food', 'Food', 'hay') }}{{ ui.reason() }}</form>
{{ ui.form_start('sell', {'name': name}) }}{{ ui.reason() }}</form>
{% endblock %}"""


class Farm(Pages):
    """Pages of an application's own, and what was done on them."""

    def __init__(self) -> None:
        super().__init__("pets", "Animals", order=500)
        self.done: list[Any] = []


def pets() -> Farm:
    """Pages with an act of each kind."""
    pages = Farm()
    declare_acts(pages, declare_pages(pages))
    return pages


def declare_pages(pages: Farm) -> Any:

    @pages.show("/pets", "pets")
    def show_pets(visit: Visit) -> Shown:
        return Shown("error.html", {"sentence": "Choose one.", "status": 200})

    @pages.show("/pets/<path:name>", "pet")
    def show_pet(visit: Visit, name: str) -> Shown:
        if name == "nobody":
            raise StateNotFound(name)
        if name == "broken":
            raise RuntimeError("the inside")
        return Shown("pet.html", {"name": name})

    @pages.show("/pets.csv", "pets_file")
    def export(visit: Visit) -> Download:
        return Download([visit.url("pet", name="rex"), "\n\ud800", b"\n"], "text/csv", "pets.csv")

    return show_pet


def declare_acts(pages: Farm, show_pet: Any) -> None:
    @pages.act("/pets/<path:name>/feed", "feed")
    def feed(visit: Visit, name: str) -> Done:
        if visit.form["food"] == "stones":
            raise StateValidationError({"food": ["No animal eats that."]})
        if visit.form["food"] == "bug":
            raise ConfigurationError("the inside")
        pages.done.append((name, visit.form["food"], visit.chosen("with"), visit.writing()))
        return Done(f"{name} has eaten.", visit.form.get("to") or visit.url("pet", name=name, **visit.query))

    @pages.act("/pets/<path:name>/sell", "sell", destructive="Sell {name} for {price}{name.__class__}?")
    def sell(visit: Visit, name: str) -> Done:
        pages.done.append((name, visit.form["price"]))
        return Done(f"{name} is sold.", visit.url("pets"))

    @pages.act("/pets/<path:name>/reveal", "reveal_pet", reveals="the pet {name}")
    def reveal(visit: Visit, name: str) -> Shown:
        return show_pet(visit, name)


@pytest.fixture
def kept() -> Farm:
    return pets()


@pytest.fixture
def farm(kept: Farm) -> Iterator[World]:
    """An application with pages of its own, neither testing nor in debug mode."""
    with an_admin_world(STATEMANAGER_ADMIN_PAGES=[kept], STATEMANAGER_ADMIN_LOGIN_URL="/login") as world:
        world.app.testing = False
        world.app.jinja_loader = DictLoader({"statemanager_admin/pet.html": PET})  # type: ignore[misc]
        yield world


PATHS = ("/", "/health", "/pets", "/pets/rex", "/no-such-page", "/pets/nobody")


# -- who is let in -----------------------------------------------------------------------------------------------------


def test_nobody_is_let_in_without_the_permission_and_learns_nothing(farm: World, kept: Farm) -> None:
    seen = {
        (who, path): Operator(farm, user, roles).get(path)
        for who, user, roles in (("nobody", None, ()), ("known", "ben", ("service",)))
        for path in PATHS
    }
    assert {answer.status_code for (who, _path), answer in seen.items() if who == "nobody"} == {401}
    assert {answer.status_code for (who, _path), answer in seen.items() if who == "known"} == {403}
    for who in ("nobody", "known"):
        pages = {answer.text.partition("next=")[0] for (whose, _path), answer in seen.items() if whose == who}
        assert len(pages) == 1, "what is at a path shows"
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
        for path in ("/pets/rex/feed", "/pets", "/no-such-page"):
            assert Operator(farm, None).client.open(PREFIX + path, method=method).status_code == 401
            assert Operator(farm, "ben", ()).client.open(PREFIX + path, method=method).status_code == 403
    assert kept.done == []
    assert [Operator(farm).get(path).status_code for path in PATHS] == [200, 200, 200, 200, 404, 404]


def test_where_nothing_is_the_application_s_hooks_find_out_who_asks(farm: World) -> None:
    """Hooks that were registered after the state manager, too, as most applications register theirs."""
    farm.app._got_first_request = False

    @farm.app.before_request
    def identify() -> None:
        flask.request.environ["test.user"] = ("late", ["admin"])

    somebody = Operator(farm, None)
    assert somebody.get("/pets").status_code == 200
    assert "There is no such page" in text_of(somebody.get("/no-such-page"))
    for method, path, allowed in (
        ("PUT", "/pets", "GET, HEAD"),
        ("GET", "/pets/a/feed/x", None),
        ("POST", "/", "GET, HEAD"),
    ):
        answer = somebody.client.open(PREFIX + path, method=method)
        assert (answer.status_code, answer.headers.get("Allow")) == (405 if allowed else 200, allowed)


def test_the_pages_are_off_unless_they_are_switched_on() -> None:
    assert Settings().admin_enabled is False
    for world in entered(build("memory", "sqlite://")):
        assert "statemanager_admin" not in world.app.blueprints
        assert world.app.test_client().get(f"{PREFIX}/").status_code == 404


def test_which_roles_may_is_what_the_api_goes_by_and_its_tokens_count() -> None:
    config = {"STATEMANAGER_API_TOKENS": TOKENS, "STATEMANAGER_API_ROLES": {"admin": ["keeper"]}}
    with an_admin_world(**config) as world:
        assert Operator(world, "eve", ("keeper",)).get().status_code == 200
        assert Operator(world, "ada", ("admin",)).get().status_code == 403
        assert Operator(world, None).get(headers=bearer("ada's")).status_code == 403
    with an_admin_world(STATEMANAGER_API_TOKENS=TOKENS) as world:
        assert Operator(world, None).get(headers=bearer("ada's")).status_code == 200
        assert Operator(world, None).get(headers=bearer("ben's")).status_code == 403
        assert Operator(world, None).get(headers=bearer("wrong")).status_code == 401


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("mode", ["debug", "testing", None])
def test_a_developer_at_home_is_let_in_only_by_the_setting(local: bool, mode: str | None) -> None:
    with an_admin_world(STATEMANAGER_ADMIN_LOCAL=local) as world:
        world.app.testing = False
        if mode is not None:
            setattr(world.app, mode, True)
        expected = 200 if local and mode else 401
        somebody = Operator(world, None)
        assert somebody.get().status_code == expected
        for elsewhere in ({"headers": {"Host": "evil.example"}}, {"environ_overrides": {"REMOTE_ADDR": "10.0.0.1"}}):
            assert somebody.get(**elsewhere).status_code == 401
        assert somebody.get(headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 401
        assert Operator(world, "ben", ()).get().status_code == 403


def test_a_loader_that_is_wrong_lets_nobody_in(farm: World, caplog: pytest.LogCaptureFixture) -> None:
    for answer in (("ada", "admin"), object()):
        answered = Operator(farm, None).client.get(PREFIX + "/", environ_overrides={"test.user": answer})
        assert answered.status_code == 500
        assert "ada" not in answered.text
        assert "identity loader" not in answered.text
    assert "The identity loader returned" in caplog.text


# -- the way to the login ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        ("/login", "/login?next=/admin/state/pets%3Fq%3D%26x%3D//evil.example"),
        ("/login?a=1", "/login?a=1&amp;next=/admin/state/pets%3Fq%3D%26x%3D//evil.example"),
        ("https://sso.example/{next}", "https://sso.example//admin/state/pets%3Fq%3D%26x%3D//evil.example"),
        (None, None),
    ],
)
def test_the_page_for_nobody_leads_to_the_login_and_back(login: str | None, expected: str | None) -> None:
    with an_admin_world(STATEMANAGER_ADMIN_LOGIN_URL=login) as world:
        page = Operator(world, None).get("/pets?q=&x=//evil.example").text
        assert (f'href="{expected}"' in page) is (expected is not None)
        assert ("Sign in</a>" in page) is (expected is not None)


def test_what_a_client_sends_cannot_lead_anywhere_else(farm: World) -> None:
    for path in (
        "/admin/state/../../evil",
        "/admin/state/..%2f..%2f",
        "/admin/state/%2e%2e/",
    ):
        page = farm.app.test_client().get(path).text
        assert 'href="/login?next=/admin/state/"' in page
    encoded = farm.app.test_client().get("/admin/state/%0d%0aX:1%5c").text
    assert 'href="/login?next=/admin/state/%250D%250AX%3A1%255C"' in encoded
    assert 'next=/admin/state/"' in farm.app.test_client().post("/admin/state/pets").text


def test_the_login_leads_back_to_a_path_of_any_characters(farm: World) -> None:
    for asked in ("/admin/state/pets/a%3Fb%23c%25d", "/admin/state/pets/%C3%A9?q=%23%26&x=%C3%A9"):
        page = farm.app.test_client().get(asked, base_url="http://localhost/caf%C3%A9/").text
        found = re.search(r'href="/login\?next=([^"]*)"', page)
        assert found is not None
        assert unquote(found[1]) == f"/caf%C3%A9{asked}"


@pytest.mark.parametrize(
    ("url", "below"),
    [
        ("/admin/state/", True),
        ("/admin/state", True),
        ("/admin/state/pets?to=//x", True),
        ("/admin/statement", False),
        ("//admin/state/", False),
        ("https://evil.example/admin/state/", False),
        ("/admin/state/../../x", False),
        ("/admin/state/..", False),
        ("/admin/state/%2e%2E/%2e./x", False),
        ("/admin/state/a%2eb..", True),
        ("/admin/state\\evil", False),
        ("/admin/state/\n", False),
        ("javascript:alert(1)", False),
        ("", False),
    ],
)
def test_what_counts_as_one_of_the_pages(url: str, below: bool) -> None:
    assert is_below(url, "/admin/state/") is below
    assert not is_below(url, "//evil/")


@pytest.mark.parametrize(
    "to", ["https://evil.example/", "//evil.example", "/elsewhere", "/admin/state/..//x", "\\\\evil"]
)
def test_an_act_leads_nowhere_else(farm: World, to: str) -> None:
    answer = Operator(farm).post("/pets/rex/feed", {"food": "hay", "to": to}, at="/pets/rex")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/state/")


# -- what a form must bring along --------------------------------------------------------------------------------------


def test_an_act_is_done_as_the_user_and_tells_so_once(farm: World, kept: Farm) -> None:
    ada = Operator(farm)
    fields = {"food": "hay", "reason": " hungry ", "with": ["salt", "water"]}
    answer = ada.post("/pets/rex/feed?page=2", fields, at="/pets/rex")
    assert answer.headers["Location"] == "/admin/state/pets/rex?page=2"
    writing = {"actor": "ada", "source": "admin", "reason": "hungry"}
    assert kept.done == [("rex", "hay", ("salt", "water"), writing)]
    followed = ada.follow(answer)
    assert "rex has eaten." in text_of(followed)
    assert "rex has eaten." not in text_of(ada.get("/pets/rex"))
    other = Operator(farm, "eve")
    other.client.set_cookie("statemanager_admin_told", "forged", path=PREFIX)
    assert "forged" not in text_of(other.get())


@pytest.mark.parametrize("token", ["none", "empty", "wrong", "another's", "another browser's", "another key's", "old"])
def test_a_form_without_its_token_does_nothing_and_keeps_what_was_typed(
    farm: World, kept: Farm, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = Operator(farm)
    sent = {"food": "oats & <hay>", "admin_token": ada.token("/pets/rex")}
    if token == "none":
        del sent["admin_token"]
    elif token in ("empty", "wrong"):
        sent["admin_token"] = "" if token == "empty" else tampered(sent["admin_token"])
    elif token == "another's":
        ada.client.environ_base["test.user"] = ("eve", ("admin",))
    elif token == "another browser's":
        ada.client.delete_cookie("statemanager_admin", path=PREFIX)
        ada.token("/pets/rex")
    elif token == "another key's":
        farm.app.secret_key = "another"
    else:
        monkeypatch.setattr("flask_statemanager.admin.tokens.KEPT", -1)
    answer = ada.client.post(f"{PREFIX}/pets/rex/feed", data=sent)
    assert answer.status_code == 403
    assert kept.done == []
    assert 'value="oats &amp; &lt;hay&gt;"' in answer.text
    assert "open for too long" in text_of(answer)


@pytest.mark.parametrize(("ahead", "status"), [(120, 303), (3600, 403)])
def test_servers_whose_clocks_differ_take_each_other_s_forms(
    farm: World, kept: Farm, ahead: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = Operator(farm)
    with monkeypatch.context() as another:
        another.setattr(TimestampSigner, "get_timestamp", lambda _self: int(time.time()) + ahead)
        sent = {"food": "hay", "admin_token": ada.token("/pets/rex")}
        told = ada.client.post(f"{PREFIX}/pets/rex/feed", data=sent) if status == 303 else None
    assert ada.client.post(f"{PREFIX}/pets/rex/feed", data=sent).status_code == status
    if told is not None:
        assert "rex has eaten." in text_of(ada.follow(told))


def test_a_new_secret_key_takes_the_forms_of_the_one_before(farm: World, kept: Farm) -> None:
    ada = Operator(farm)
    sent = {"food": "hay", "admin_token": ada.token("/pets/rex")}
    farm.app.secret_key, farm.app.config["SECRET_KEY_FALLBACKS"] = "new", ["key"]
    assert ada.client.post(f"{PREFIX}/pets/rex/feed", data=sent).status_code == 303
    assert len(kept.done) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://localhost"}, 303),
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, 403),
    ],
)
def test_a_page_of_another_site_does_nothing(farm: World, kept: Farm, headers: dict[str, str], status: int) -> None:
    answer = Operator(farm).post("/pets/rex/feed", {"food": "hay"}, at="/pets/rex", headers=headers)
    assert answer.status_code == status
    assert len(kept.done) == (status == 303)


def test_a_link_cannot_have_the_forms_of_a_page_lead_elsewhere(farm: World) -> None:
    page = Operator(farm).get("/pets/rex?_external=1&_scheme=javascript&_anchor=x&endpoint=static&name=y&q=1").text
    assert page.count('action="/admin/state/pets/rex/feed?q=1"') == 1


def test_nothing_is_done_by_looking(farm: World, kept: Farm) -> None:
    assert Operator(farm).get("/pets/rex/feed?food=hay").status_code == 200  # a page of that name
    assert Operator(farm).client.post(f"{PREFIX}/pets").status_code == 405
    assert kept.done == []


def test_the_cookie_is_for_these_pages_alone(farm: World) -> None:
    cookies = Operator(farm).get().headers.getlist("Set-Cookie")
    assert len(cookies) == 1
    assert cookies[0].startswith("statemanager_admin=")
    assert cookies[0].endswith("; HttpOnly; Path=/admin/state; SameSite=Lax")
    assert "Secure" in Operator(farm).get(base_url="https://localhost").headers["Set-Cookie"]
    ada = Operator(farm)
    ada.get()
    assert "Set-Cookie" not in ada.get().headers


def test_without_a_secret_key_the_cure_is_logged(farm: World, caplog: pytest.LogCaptureFixture) -> None:
    farm.app.secret_key = None
    answer = Operator(farm).get()
    assert answer.status_code == 500
    assert "SECRET_KEY" not in answer.text
    assert "The app has no SECRET_KEY" in caplog.text


def test_the_application_s_own_check_of_forms_is_satisfied_too(farm: World, kept: Farm) -> None:
    farm.app.jinja_env.globals["csrf_token"] = lambda: session.setdefault("csrf", "s3same<")
    page = Operator(farm).get("/pets/rex")
    assert page.text.count('<input type="hidden" name="csrf_token" value="s3same&lt;">') == 2
    farm.app.config["WTF_CSRF_FIELD_NAME"] = "own"
    assert 'name="own" value="s3same&lt;"' in Operator(farm).get("/pets/rex").text


def test_what_the_application_s_own_check_refuses_is_told_to_those_who_may_see_it(farm: World, kept: Farm) -> None:
    farm.app._got_first_request = False

    @farm.app.before_request
    def check() -> None:
        if flask.request.method == "POST":
            flask.abort(400, "The form has no token of the application's.")

    answer = Operator(farm).post("/pets/rex/feed", {"food": "hay"}, at="/pets/rex")
    assert answer.status_code == 400
    assert "The form has no token of the application's." in text_of(answer)
    stranger = Operator(farm, None).client.post(f"{PREFIX}/pets/rex/feed")
    assert stranger.status_code == 401
    assert "token" not in stranger.text
    assert kept.done == []


# -- questions, rates, refusals ----------------------------------------------------------------------------------------


def test_what_destroys_is_asked_first_and_then_done_with_the_same_form(farm: World, kept: Farm) -> None:
    ada = Operator(farm)
    asked = ada.post("/pets/rex/sell?q=1", {"price": "<5>", "reason": 'say "why"'}, at="/pets/rex")
    assert asked.status_code == 200
    assert "Sell rex for <5>?" in text_of(asked)
    assert 'name="price" value="&lt;5&gt;"' in asked.text
    assert 'name="reason" value="say &#34;why&#34;"' in asked.text
    assert 'action="/admin/state/pets/rex/sell?q=1"' in asked.text
    assert 'href="/admin/state/pets/rex?q=1"' in asked.text
    assert kept.done == []
    done = ada.post("/pets/rex/sell", {"price": "<5>", "confirmed": "yes"}, at="/pets/rex")
    assert done.headers["Location"] == "/admin/state/pets"
    assert kept.done == [("rex", "<5>")]


def test_a_user_has_so_many_acts_in_a_minute(kept: Farm) -> None:
    with an_admin_world(STATEMANAGER_ADMIN_PAGES=[kept], STATEMANAGER_ADMIN_RATE=2) as world:
        world.app.jinja_loader = DictLoader({"statemanager_admin/pet.html": PET})  # type: ignore[misc]
        ada, eve = Operator(world), Operator(world, "eve")
        answers = [ada.post("/pets/rex/feed", {"food": f"{n}"}, at="/pets/rex") for n in range(3)]
        assert [answer.status_code for answer in answers] == [303, 303, 429]
        assert answers[2].headers["Retry-After"] == "60"
        assert "wait 60 seconds" in text_of(answers[2])
        assert 'value="2"' in answers[2].text, "what was typed is kept"
        assert eve.post("/pets/rex/feed", {"food": "hay"}, at="/pets/rex").status_code == 303
        world.clock.advance(61)
        assert ada.post("/pets/rex/feed", {"food": "hay"}, at="/pets/rex").status_code == 303
        assert len(kept.done) == 4


def test_a_refusal_comes_back_on_the_page_with_what_was_typed(farm: World) -> None:
    answer = Operator(farm).post("/pets/rex/feed?q=1", {"food": "stones", "reason": "a test"}, at="/pets/rex")
    assert answer.status_code == 422
    assert "No animal eats that." in text_of(answer)
    assert 'value="stones" aria-invalid="true" aria-describedby="food-errors"' in answer.text
    assert 'value="a test"' in answer.text
    assert 'action="/admin/state/pets/rex/feed?q=1"' in answer.text


def test_a_form_may_hold_the_largest_document_and_no_more(farm: World, kept: Farm) -> None:
    ada = Operator(farm)
    largest = "{" * 2**20
    assert ada.post("/pets/rex/feed", {"food": largest}, at="/pets/rex").status_code == 303
    assert kept.done[0][1] == largest
    refused = ada.post("/pets/rex/feed", {"food": largest * 2}, at="/pets/rex")
    assert refused.status_code == 413
    assert "State Manager" in refused.text
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    stream = BytesIO(b"food=hay")
    kind = "application/x-www-form-urlencoded"
    unannounced = ada.client.post(
        f"{PREFIX}/pets/rex/feed", input_stream=stream, content_type=kind, environ_overrides=chunked
    )
    assert (unannounced.status_code, stream.tell()) == (411, 0)
    assert len(kept.done) == 1


def test_where_the_page_of_an_act_cannot_be_shown_the_sentence_is(farm: World) -> None:
    answer = Operator(farm).post("/pets/nobody/feed", {"food": "stones"}, at="/pets/rex")
    assert answer.status_code == 422
    assert "That did not work food: No animal eats that." in text_of(answer)


def test_a_loader_may_send_to_the_login_itself(farm: World) -> None:
    farm.states._declarations.identity.loader = lambda: flask.abort(flask.redirect("/login"))
    for path in ("/", "/no-such-page"):
        answer = Operator(farm, None).get(path)
        assert (answer.status_code, answer.headers["Location"]) == (302, "/login")


def test_an_error_of_the_application_tells_nothing_and_is_logged(farm: World, caplog: pytest.LogCaptureFixture) -> None:
    for answer in (
        Operator(farm).get("/pets/broken"),
        Operator(farm).post("/pets/rex/feed", {"food": "bug"}, at="/pets/rex"),
    ):
        assert answer.status_code == 500
        assert "the inside" not in answer.text
        assert "State Manager" in answer.text
    assert caplog.text.count("the inside") >= 2


def test_error_pages_are_these_pages_whatever_the_application_has(farm: World) -> None:
    def own(error: Exception) -> tuple[str, int]:
        return "the application's", 418

    farm.app._got_first_request = False
    for kind in (404, 405, 500, Exception, StateNotFound):
        farm.app.register_error_handler(kind, own)
    ada = Operator(farm)
    assert "There is no state 'nobody'" in text_of(ada.get("/pets/nobody"))
    for path, status in (("/no-such-page", 404), ("/pets/broken", 500), ("/static/nothing.css", 404)):
        answer = ada.get(path)
        assert answer.status_code == status
        assert "the application's" not in answer.text
    refused = ada.client.put(f"{PREFIX}/pets")
    assert (refused.status_code, set(refused.headers["Allow"].split(", "))) == (405, {"GET", "HEAD"})
    assert ada.client.get("/elsewhere").status_code == 418


# -- what every page has -----------------------------------------------------------------------------------------------


def test_every_answer_keeps_itself_from_others(farm: World) -> None:
    ada = Operator(farm)
    answers = [
        *(ada.get(path) for path in PATHS),
        ada.post("/pets/rex/feed", {"food": "hay"}, at="/pets/rex"),
        Operator(farm, None).get(),
        Operator(farm, "ben", ()).get(),
        ada.get("/pets.csv"),
        ada.get("/static/nothing.css"),
    ]
    for answer in answers:
        headers = answer.headers
        assert headers["Cache-Control"] == "no-store"
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
        assert (policy["script-src"], policy["style-src"]) == ("'self'", "'self'")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "Cookie" in headers["Vary"]
    for answer in answers[:-2]:
        assert not any(inline in answer.text for inline in ("<style", " style=", "onclick", "<script>"))
        for address in re.findall(r'(?:src|href|action)="([^"]*)"', answer.text):
            assert address.startswith(("/admin/state", "#", "data:,", "/login?next=/admin/state/")), address


def test_a_file_is_sent_as_one(farm: World) -> None:
    answer = Operator(farm).get("/pets.csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == "attachment; filename=pets.csv"
    assert answer.text == "/admin/state/pets/rex\n\\ud800\n"


def test_secrets_are_shown_for_a_reason_and_it_is_logged(farm: World, caplog: pytest.LogCaptureFixture) -> None:
    ada = Operator(farm)
    assert "s3cret" not in ada.get("/pets/rex").text
    refused = ada.post("/pets/rex/reveal", {"reason": " "}, at="/pets/rex")
    assert refused.status_code == 422
    assert "s3cret" not in refused.text
    with caplog.at_level(logging.WARNING, "flask_statemanager.admin"):
        shown = ada.post("/pets/rex/reveal", {"reason": "ticket 7"}, at="/pets/rex")
    assert "s3cret" in shown.text
    assert caplog.messages == ["'ada' has the secrets of the pet rex revealed: 'ticket 7'"]
    assert "s3cret" not in ada.get("/pets/rex").text


# -- templates and pages of the application's own ----------------------------------------------------------------------


def test_an_application_overrides_templates_and_their_blocks(farm: World) -> None:
    farm.app.jinja_loader = DictLoader(  # type: ignore[misc]
        {
            "statemanager_admin/base.html": '{% extends "statemanager_admin/original/base.html" %}'
            "{% block foot %}{{ super() }} Call 555.{% endblock %}",
            "statemanager_admin/health.html": '{% extends "statemanager_admin/original/health.html" %}'
            "{% block main %}<p>Before</p>{{ super() }}{% endblock %}",
            "statemanager_admin/closed.html": "Go away.",
        }
    )
    farm.app.jinja_env.cache.clear()
    overview, health = text_of(Operator(farm).get()), text_of(Operator(farm).get("/health"))
    assert overview.endswith("All times are UTC. Call 555.")
    assert health.endswith("All times are UTC. Call 555.")
    assert "Before Health" in health
    assert Operator(farm, None).get().text == "Go away."


def test_the_navigation_has_the_application_s_pages_at_their_place(farm: World) -> None:
    page = Operator(farm).get("/pets/rex").text
    assert page.index(">Overview<") < page.index(">Animals<") < page.index(">Health<")
    assert '<a href="/admin/state/pets" aria-current="page">Animals</a>' in page


def test_pages_are_imported_where_the_setting_names_them() -> None:
    with an_admin_world(STATEMANAGER_ADMIN_PAGES=["tests.test_admin:NAMED"]) as world:
        assert ">Named<" in Operator(world).get().text


DEEP = Pages("deep", "Deep", order=1)
DEEP.show("/deep/<item>", "deep")(lambda visit, item: Shown("error.html"))
NAMED = Pages("named", "Named", order=1)
NAMED.show("/named", "named")(lambda visit: Shown("error.html", {"sentence": "", "status": 200}))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["tests.test_admin:NOTHING"], "is not there"),
        (["no_such_module:pages"], "is not there"),
        (["tests.test_admin:PET"], "is no Pages"),
        ([7], "is no Pages"),
        ([Pages("empty", "Empty", 1)], "have no page"),
        ([DEEP], "have no page that the navigation can lead to"),
        (["tests.test_admin:NAMED", "tests.test_admin:NAMED"], "are called named"),
        ("tests.test_admin:NAMED", "must be a list"),
        (["tests.test_admin.NAMED"], "must be a list"),
    ],
)
def test_unusable_pages_fail_at_the_start(given: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told), an_admin_world(STATEMANAGER_ADMIN_PAGES=given):
        pass


def test_an_act_needs_a_page_to_go_back_to() -> None:
    pages = Pages("some", "Some", 1)
    with pytest.raises(ConfigurationError, match="no page to go back to"):
        pages.act("/some/<int:number>/do", "do")(lambda visit: Done("", ""))
    pages.show("/some", "some")(lambda visit: Shown(""))
    pages.show("/some/<int:number>", "one")(lambda visit, number: Shown(""))
    pages.act("/some/<int:number>/do", "do")(lambda visit, number: Done("", ""))
    pages.act("/some/<int:number>/list", "back", page="some")(lambda visit, number: Done("", ""))
    assert [act.page.name for act in pages.acts] == ["one", "some"]


def test_a_blueprint_of_that_name_is_refused(farm: World) -> None:
    with pytest.raises(ConfigurationError, match="statemanager_admin"):
        mount(farm.app, farm.runtime)


@pytest.mark.parametrize(
    "value", ["//evil", "javascript:alert(1)", "login", "/a b", "/a\\b", '/a"', "https:///x", 7, "/\n"]
)
def test_an_unusable_address_of_the_login_fails_at_the_start(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="STATEMANAGER_ADMIN_LOGIN_URL"):
        Settings.from_mapping({"STATEMANAGER_ADMIN_LOGIN_URL": value})


def test_a_handler_of_the_application_may_answer_first(farm: World) -> None:
    farm.app._got_first_request = False
    farm.app.before_request(lambda: Response("maintenance", 503))
    assert Operator(farm).get().text == "maintenance"
