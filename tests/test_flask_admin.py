"""The admin pages beside a real Flask-Admin: an entry of its menu, a view in its look, and nothing for others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Flask, request
from flask_admin import Admin, BaseView, expose

from flask_statemanager import StateManager, StateType
from flask_statemanager.integrations.flask_admin import StateManagerLink, StateManagerView

Office = Callable[..., Flask]


class Greeting(BaseView):
    """A view of the application's own, for everybody."""

    @expose("/")
    def index(self) -> str:
        return self.render("admin/index.html")


@pytest.fixture
def office(tmp_path: object) -> Iterator[Office]:
    """Makes an application with a Flask-Admin; who asks says a header."""
    made: list[Flask] = []

    def make(**config: object) -> Flask:
        StateManager.reset_instance()
        app = Flask("office")
        app.config.update(SECRET_KEY="office", STATEMANAGER_DATABASE_URI=f"sqlite:///{tmp_path}/office.db", **config)
        manager = StateManager(app)

        @manager.identity_loader
        def asking() -> tuple[str, list[str]] | None:
            user = request.headers.get("User")
            return None if user is None else (user, ["admin"] if user == "ada" else [])

        made.append(app)
        app.extensions["statemanager"].backend.create_tables()
        with app.app_context():
            for number in range(3):
                manager.register_state(f"user_{number}", StateType.USER, {"data": {"number": number}})
            manager.update_state("user_1", transition="activate")
        admin = Admin(app, name="Office")
        admin.add_view(Greeting(name="Greeting", endpoint="greeting"))
        admin.add_view(StateManagerView("Our states", category="System"))
        admin.add_link(StateManagerLink("State pages"))
        admin.add_link(StateManagerLink("Health of states", page="health", category="System"))
        return app

    yield make
    for app in made:
        app.extensions["statemanager"].close()
    StateManager.reset_instance()


def page(app: Flask, path: str, user: str | None, code: int = 200) -> str:
    answer = app.test_client().get(path, headers={} if user is None else {"User": user})
    assert answer.status_code == code, answer.text
    return answer.text


def test_the_menu_leads_to_the_pages(office: Office) -> None:
    app = office(STATEMANAGER_ADMIN_ENABLED=True)
    menu = page(app, "/admin/greeting/", "ada")
    assert 'href="/admin/state/"' in menu
    assert "State pages" in menu
    assert 'href="/admin/state/health"' in menu
    assert 'href="/admin/statemanager/"' in menu
    page(app, "/admin/state/", "ada")


def test_the_view_shows_the_states_in_the_look_of_flask_admin(office: Office) -> None:
    text = page(office(STATEMANAGER_ADMIN_ENABLED=True), "/admin/statemanager/", "ada")
    assert "navbar" in text
    assert "Office" in text
    assert "Our states" in text
    for shown in (
        "3 states",
        "healthy",
        "user",
        "created",
        "active",
        "Overview",
        "Health",
        'href="/admin/state/health"',
    ):
        assert shown in text


@pytest.mark.parametrize("user", ["bob", None])
def test_whoever_may_not_see_the_pages_sees_nothing_of_them(office: Office, user: str | None) -> None:
    app = office(STATEMANAGER_ADMIN_ENABLED=True)
    menu = page(app, "/admin/greeting/", user)
    assert "Greeting" in menu
    assert "state" not in menu.partition("</nav>")[0].lower().replace("static", "")
    assert "user_1" not in page(app, "/admin/statemanager/", user, 403)


def test_a_user_is_asked_for_anew_with_each_request(office: Office) -> None:
    app = office(STATEMANAGER_ADMIN_ENABLED=True)
    with app.app_context():
        page(app, "/admin/statemanager/", "ada")
        page(app, "/admin/statemanager/", "bob", 403)


def test_an_app_without_the_pages_has_neither_entry_nor_view(office: Office) -> None:
    app = office()
    assert "State pages" not in page(app, "/admin/greeting/", "ada")
    page(app, "/admin/statemanager/", "ada", 403)


def test_pages_and_view_can_be_elsewhere(office: Office) -> None:
    app = office(STATEMANAGER_ADMIN_ENABLED=True, STATEMANAGER_ADMIN_PREFIX="/ops")
    assert 'href="/ops/"' in page(app, "/admin/statemanager/", "ada")
