"""Operations: what the API can do, each declared beside the function that does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from inspect import cleandoc
from typing import TYPE_CHECKING, TypeVar

from marshmallow import Schema
from msgspec import Struct

if TYPE_CHECKING:
    from .answer import Answer

Act = Callable[..., "Answer"]
"""Called with the :class:`~flask_statemanager.web.call.Call` and the arguments of the path."""

Declared = TypeVar("Declared", bound=Act)
SchemaClass = type[Schema]


class Operation(Struct, frozen=True):
    """One thing that the API can do.

    :param tag: the group it belongs to.
    :param name: its name, which is the endpoint too.
    :param method: the HTTP method.
    :param rule: the path behind the prefix, as Werkzeug writes it.
    :param permission: ``read``, ``write`` or ``admin``.
    :param summary: what it does, in a line.
    :param description: what else is to know about it: the function's docstring, without what it says to programmers.
    :param query: the schema of the query; None where it takes none.
    :param body: the schema of the body; None where it takes none.
    :param body_required: whether there must be a body.
    :param media_types: what the body may be.
    :param produces: what a good answer may be, the default first.
    :param answers: the schema of ``data`` by status; None for an answer that is no JSON.
    :param conditional: whether it heeds ``If-Match`` and ``If-None-Match``.
    :param idempotent: whether it heeds ``Idempotency-Key``.
    :param act: does it.
    """

    tag: str
    name: str
    method: str
    rule: str
    permission: str
    summary: str
    description: str
    query: SchemaClass | None
    body: SchemaClass | None
    body_required: bool
    media_types: tuple[str, ...]
    produces: tuple[str, ...]
    answers: Mapping[int, SchemaClass | None]
    conditional: bool
    idempotent: bool
    act: Act

    @property
    def overwrites(self) -> bool:
        """Whether it takes the place of what is there, so that a client may have to say what it expects."""
        return self.conditional and self.method in ("PUT", "PATCH", "DELETE")


JSON = ("application/json",)


class Operations:
    """Collects the operations of one group.

    >>> from flask_statemanager.web.answer import Answer
    >>> pets = Operations("pets", "Animals.")
    >>> @pets.operation("GET", "/pets/<name>", permission="read", summary="Look at a pet")
    ... def look_at_pet(call, name):
    ...     return Answer({"name": name})
    >>> [operation.name for operation in pets]
    ['look_at_pet']

    :param tag: the group's name.
    :param description: what it is about.
    """

    def __init__(self, tag: str, description: str) -> None:
        self.tag = tag
        self.description = description
        self._declared: list[Operation] = []

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._declared)

    def operation(
        self,
        method: str,
        rule: str,
        *,
        permission: str,
        summary: str,
        query: SchemaClass | None = None,
        body: SchemaClass | None = None,
        body_required: bool = True,
        media_types: tuple[str, ...] = JSON,
        produces: tuple[str, ...] = JSON,
        answers: Mapping[int, SchemaClass | None] | None = None,
        conditional: bool = False,
        idempotent: bool = False,
    ) -> Callable[[Declared], Declared]:
        """Declare an operation; a decorator of the function that does it.

        :param method: the HTTP method.
        :param rule: the path behind the prefix.
        :param permission: ``read``, ``write`` or ``admin``.
        :param summary: what it does, in a line.
        :param query: the schema of the query.
        :param body: the schema of the body.
        :param body_required: whether there must be a body.
        :param media_types: what the body may be.
        :param produces: what a good answer may be, the default first.
        :param answers: the schema of ``data`` by status.
        :param conditional: whether it heeds ``If-Match`` and ``If-None-Match``.
        :param idempotent: whether it heeds ``Idempotency-Key``.
        """

        def declare(act: Declared) -> Declared:
            self.add(
                act,
                method,
                rule,
                permission=permission,
                summary=summary,
                query=query,
                body=body,
                body_required=body_required,
                media_types=media_types,
                produces=produces,
                answers=answers,
                conditional=conditional,
                idempotent=idempotent,
            )
            return act

        return declare

    def add(
        self,
        act: Act,
        method: str,
        rule: str,
        *,
        name: str | None = None,
        permission: str,
        summary: str,
        query: SchemaClass | None = None,
        body: SchemaClass | None = None,
        body_required: bool = True,
        media_types: tuple[str, ...] = JSON,
        produces: tuple[str, ...] = JSON,
        answers: Mapping[int, SchemaClass | None] | None = None,
        conditional: bool = False,
        idempotent: bool = False,
    ) -> None:
        """Declare an operation of a function, which may have several; the parameters are those of :meth:`operation`.

        :param act: does it.
        :param method: the HTTP method.
        :param rule: the path behind the prefix.
        :param name: its name; the function's by default.
        :param permission: ``read``, ``write`` or ``admin``.
        :param summary: what it does, in a line.
        :param query: the schema of the query.
        :param body: the schema of the body.
        :param body_required: whether there must be a body.
        :param media_types: what the body may be.
        :param produces: what a good answer may be, the default first.
        :param answers: the schema of ``data`` by status.
        :param conditional: whether it heeds ``If-Match`` and ``If-None-Match``.
        :param idempotent: whether it heeds ``Idempotency-Key``.
        """
        self._declared.append(
            Operation(
                self.tag,
                name or act.__name__,
                method,
                rule,
                permission,
                summary,
                _described(act.__doc__ or ""),
                query,
                body,
                body_required,
                media_types,
                produces,
                answers or {200: None},
                conditional,
                idempotent,
                act,
            )
        )


def _described(docstring: str) -> str:
    """Return a docstring up to its first field."""
    return cleandoc(docstring).partition("\n:")[0].strip()
