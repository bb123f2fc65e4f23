"""The settings of the admin pages."""

from __future__ import annotations

import re
from typing import Any

from .access import a_url_prefix
from .declared import declared
from .values import a_count, a_flag
from .web import WebSettings

NEXT = "{next}"
"""Stands in the address of a login page for where to go behind it."""

_LOGIN = re.compile(r"""(https?://[A-Za-z0-9._~:\[\]-]+)?(?!//)/[!#-;=?-\[\]-~]*""", re.ASCII)


def a_login_url(value: Any) -> str:
    """Read where users log in: a path of the application, or another site's address.

    :param value: as it stands in the config.
    :raises ValueError: when a browser could take it for something else.
    """
    if isinstance(value, str) and _LOGIN.fullmatch(value):
        return value
    raise ValueError("must be a path such as '/login', or an address that begins with https:// or http://")


def some_pages(value: Any) -> tuple[Any, ...]:
    """Read the application's own admin pages.

    :param value: as it stands in the config.
    :raises ValueError: when it is no list.
    """
    if isinstance(value, list | tuple) and all(not isinstance(each, str) or _is_reference(each) for each in value):
        return tuple(value)
    raise ValueError("must be a list of Pages, or of 'module:name', such as ['shop.admin:pages']")


def _is_reference(text: str) -> bool:
    module, mark, name = text.partition(":")
    return bool(mark) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


class AdminSettings(WebSettings):
    """The settings of the admin pages; they are a part of :class:`~flask_statemanager.config.Settings`."""

    admin_enabled: bool = declared(
        a_flag,
        False,
        "Whether the app answers at ``STATEMANAGER_ADMIN_PREFIX`` with pages for operators: :doc:`admin`.",
    )
    admin_prefix: str = declared(a_url_prefix, "/admin/state", "The path that the URLs of the admin pages begin with.")
    admin_local: bool = declared(
        a_flag,
        False,
        "Whether a developer at the own machine needs no login for the admin pages: in debug or testing mode, from a "
        "loopback address, with no proxy between.",
    )
    admin_rate: int = declared(
        a_count(1, 1_000_000),
        60,
        "How many acts on the admin pages a user is allowed in a minute, counted in all processes together where the "
        "bucket ``admin`` is shared by them. Looking is free.",
    )
    admin_login_url: str | None = declared(
        a_login_url,
        None,
        "Where the admin pages send whoever is not logged in: a path or an address. ``{next}`` in it stands for the "
        "page that was asked for; without it ``next=`` is appended. Default: no link.",
    )
    admin_pages: tuple[Any, ...] = declared(
        some_pages,
        (),
        "Admin pages of the application's own, each a ``Pages`` or where to import one, such as "
        "``['shop.admin:pages']``: :doc:`admin`.",
    )
