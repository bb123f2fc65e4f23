"""The admin pages beside Flask-Admin: an entry of its menu that leads there, and a view in its own look.

Who may see them is asked as the admin pages ask it, whomever else Flask-Admin lets in. Where an app has no admin pages
(``STATEMANAGER_ADMIN_ENABLED`` is off), there is neither entry nor view.
"""

from __future__ import annotations

from flask import current_app, request, url_for
from flask_admin import BaseView, expose  # type: ignore[import-untyped]
from flask_admin.menu import MenuLink  # type: ignore[import-untyped]

from ..admin import figures, wording
from ..admin.entrance import PERMISSION, Entrance
from ..admin.mounting import groups_of
from ..admin.visit import BLUEPRINT
from ..globals import current_runtime

TEMPLATE = f"{BLUEPRINT}/flask_admin.html"
"""The template of the view; an application can override it."""

_KNOWN = "statemanager.may_look"


class StateManagerLink(MenuLink):  # type: ignore[misc]
    """An entry of Flask-Admin's menu that leads to a page for operators, where whoever looks may see it.

    ``admin.add_link(StateManagerLink())``

    :param name: how the menu calls it.
    :param page: the name of the page.
    :param category: the menu that it is in; the top by default.
    :param class_name: of the entry, for its look.
    :param icon_type: one of Flask-Admin's kinds of icons.
    :param icon_value: the icon.
    :param target: the window that it opens in, such as ``_blank``.
    """

    def __init__(
        self,
        name: str = "States",
        *,
        page: str = "overview",
        category: str | None = None,
        class_name: str | None = None,
        icon_type: str | None = None,
        icon_value: str | None = None,
        target: str | None = None,
    ) -> None:
        super().__init__(
            name,
            endpoint=f"{BLUEPRINT}.{page}",
            category=category,
            class_name=class_name,
            icon_type=icon_type,
            icon_value=icon_value,
            target=target,
        )

    def is_accessible(self) -> bool:
        """Tell whether whoever looks at the menu may see the page.

        :raises ConfigurationError: when the app's identity loader answers what cannot be understood.
        """
        return may_look()


class StateManagerView(BaseView):  # type: ignore[misc]
    """A view of Flask-Admin: how many states there are, by type and status, and the ways to the pages for operators.

    ``admin.add_view(StateManagerView(category="System"))``

    :param name: how the menu calls it.
    :param category: the menu that it is in; the top by default.
    :param endpoint: the name of its blueprint.
    :param url: where it is; by default the endpoint, below Flask-Admin's own URL.
    :param menu_class_name: of the entry in the menu, for its look.
    :param menu_icon_type: one of Flask-Admin's kinds of icons.
    :param menu_icon_value: the icon.
    """

    def __init__(
        self,
        name: str = "States",
        *,
        category: str | None = None,
        endpoint: str = "statemanager",
        url: str | None = None,
        menu_class_name: str | None = None,
        menu_icon_type: str | None = None,
        menu_icon_value: str | None = None,
    ) -> None:
        super().__init__(
            name=name,
            category=category,
            endpoint=endpoint,
            url=url,
            menu_class_name=menu_class_name,
            menu_icon_type=menu_icon_type,
            menu_icon_value=menu_icon_value,
        )

    def is_accessible(self) -> bool:
        """Tell whether whoever asks may see it; otherwise it is a 403, and not in the menu.

        :raises ConfigurationError: when the app's identity loader answers what cannot be understood.
        """
        return may_look()

    @expose("/")  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """Show the states, in Flask-Admin's look.

        :raises StorageError: when the storage fails.
        """
        links = {
            pages.title: url_for(f"{BLUEPRINT}.{pages.entry.name}") for pages in groups_of(current_runtime.settings)
        }
        values = {"links": links, "health": current_runtime.health(), "types": figures.by_type(current_runtime)}
        return str(self.render(TEMPLATE, wording=wording, **values))


def may_look() -> bool:
    """Tell whether there are pages for operators that whoever asks may see; it is found out once in a request.

    :raises ConfigurationError: when the app's identity loader answers what cannot be understood.
    """
    found = request.environ.get(_KNOWN)
    if found is None:
        there = BLUEPRINT in current_app.blueprints
        identity = Entrance(current_runtime).identify(request) if there else None
        found = request.environ[_KNOWN] = identity is not None and identity.may(PERMISSION)
    return bool(found)
