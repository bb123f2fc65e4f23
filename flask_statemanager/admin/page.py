"""The registry of pages: what there is to look at and to do, each declared beside the function that does it.

A face has one module here, with one :class:`Pages`, named in ``mounting.GROUPS``. Names of pages and acts are unique in
the whole blueprint: ``visit.url("state", state_id=...)`` finds any of them.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from msgspec import Struct

from ..errors import ConfigurationError
from .answers import Answer

Function = Callable[..., Answer]
"""Called with the :class:`~flask_statemanager.admin.visit.Visit` and the arguments of the path."""

Declared = TypeVar("Declared", bound=Function)


class Page(Struct, frozen=True):
    """Something to look at, by ``GET``.

    :param name: its name, which is the endpoint too.
    :param rule: the path behind the prefix, as Werkzeug writes it.
    :param function: shows it.
    """

    name: str
    rule: str
    function: Function

    @property
    def arguments(self) -> frozenset[str]:
        """The names of its path's arguments."""
        return arguments_of(self.rule)


class Act(Struct, frozen=True):
    """Something to do, by ``POST``.

    :param name: its name, which is the endpoint too.
    :param rule: the path behind the prefix.
    :param function: does it.
    :param destructive: the question that is asked before, as a format string with the arguments of the path and the
        fields of the form; None where none is.
    :param when: the field of the form, and the value in it, with which alone the question is asked; None for always.
    :param reveals: of what it shows the secrets, as such a format string; None where it shows none.
    :param page: the page that it comes from, which is shown again where it is refused.
    """

    name: str
    rule: str
    function: Function
    destructive: str | None
    reveals: str | None
    page: Page
    when: tuple[str, str] | None = None

    def asks(self, form: Mapping[str, str]) -> bool:
        """Tell whether its question is to be asked.

        :param form: what was sent.
        """
        return self.destructive is not None and (self.when is None or form.get(self.when[0]) == self.when[1])


class Pages:
    """Collects the pages and acts of one entry of the navigation.

    >>> from flask_statemanager.admin.answers import Done, Shown
    >>> pages = Pages("pets", "Animals", order=200)
    >>> @pages.show("/pets", "pets")
    ... def show_pets(visit):
    ...     return Shown("pets.html")
    >>> @pages.show("/pets/<name>", "pet")
    ... def show_pet(visit, name):
    ...     return Shown("pet.html", {"name": name})
    >>> @pages.act("/pets/<name>/feed", "feed")
    ... def feed(visit, name):
    ...     return Done(f"{name} has eaten.", visit.url("pet", name=name))
    >>> pages.entry.name, [act.page.name for act in pages.acts]
    ('pets', ['pet'])

    :param name: the group's name.
    :param title: how the navigation calls it.
    :param order: where it stands there, the lowest first.
    """

    def __init__(self, name: str, title: str, order: int) -> None:
        self.name = name
        self.title = title
        self.order = order
        self.pages: list[Page] = []
        self.acts: list[Act] = []

    def __iter__(self) -> Iterator[Page | Act]:
        yield from self.pages
        yield from self.acts

    @property
    def entry(self) -> Page:
        """The page that the navigation leads to, the first that was declared.

        :raises ConfigurationError: when there is none, or its path has arguments.
        """
        if not self.pages or self.pages[0].arguments:
            raise ConfigurationError(
                f"The admin pages {self.name!r} have no page that the navigation can lead to: first declare one with "
                "show() whose path has no arguments."
            )
        return self.pages[0]

    def show(self, rule: str, name: str) -> Callable[[Declared], Declared]:
        """Declare a page; a decorator of the function that shows it.

        :param rule: the path behind the prefix, such as ``/states/<path:state_id>``.
        :param name: its name.
        """

        def declare(function: Declared) -> Declared:
            self.pages.append(Page(name, rule, function))
            return function

        return declare

    def act(
        self,
        rule: str,
        name: str,
        *,
        destructive: str | None = None,
        when: tuple[str, str] | None = None,
        reveals: str | None = None,
        page: str | None = None,
    ) -> Callable[[Declared], Declared]:
        """Declare an act; a decorator of the function that does it. Permission, token and rate are checked before.

        :param rule: the path behind the prefix.
        :param name: its name.
        :param destructive: the question that is asked before, such as ``Delete state {state_id}?``.
        :param when: a field of the form and a value: only with that in it the question is asked.
        :param reveals: of what it shows the secrets, such as ``state {state_id}``: a reason is demanded and logged, and
            the visit that the function is given, and its template, is one that sees them.
        :param page: the page that it comes from, shown again where it is refused. By default the one, of those declared
            before, whose path has the most of this path's arguments and no other.
        :raises ConfigurationError: when there is no such page.
        """

        def declare(function: Declared) -> Declared:
            at = self._page_of(name, rule, page)
            self.acts.append(Act(name, rule, function, destructive, reveals, at, when))
            return function

        return declare

    def _page_of(self, name: str, rule: str, wanted: str | None) -> Page:
        given = arguments_of(rule)
        fitting = [page for page in self.pages if page.arguments <= given and (wanted is None or page.name == wanted)]
        if not fitting:
            raise ConfigurationError(
                f"The admin act {name!r} has no page to go back to: declare one with show() before it, whose path has "
                "no other arguments."
            )
        return max(fitting, key=lambda page: len(page.arguments))


def filled(sentence: str, values: Mapping[str, str]) -> str:
    """Return a sentence with values in place of names in braces.

    >>> filled("Delete {name} at {place}{name.__class__}?", {"name": "{place}"})
    'Delete {place} at ?'

    :param sentence: the sentence.
    :param values: the values; what is not among them is left out.
    """
    # Field by field: a caller's text is no format string, and no attribute of anything can be reached.
    parts = string.Formatter().parse(sentence)
    return "".join(text + (values.get(name, "") if name else "") for text, name, _spec, _conversion in parts)


def arguments_of(rule: str) -> frozenset[str]:
    """Return the names of a path's arguments.

    :param rule: the path, as Werkzeug writes it.
    """
    parts = (part.partition(">")[0] for part in rule.split("<")[1:])
    return frozenset(part.rpartition(":")[2] for part in parts)
