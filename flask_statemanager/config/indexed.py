"""Fields that searches are to find by an index."""

from __future__ import annotations

import re

from msgspec import Struct

from ..errors import shown

ANY_TYPE = "*"
"""Stands for states of any type."""

_DEEPEST = 100
"""The most members of a path: no document is deeper, by ``core.codec.MAX_DEPTH``, which lies above this layer."""

_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}", re.ASCII)
_MEMBER = r"[^.%:\"\\\x00-\x1f\ud800-\udfff]+"
# Compiled at the first use, by those who have any.
_WRITTEN = (
    rf"(?P<path>(?:data|metadata)(?:\.{_MEMBER})+)(?::(?P<kind>text|number|boolean))?"
    r"|(?P<document>data|metadata):gin"
)


class IndexedField(Struct, frozen=True):
    """A field that searches are to find by an index.

    :param type: the type of the states, or :data:`ANY_TYPE`.
    :param root: ``data`` or ``metadata``.
    :param path: the member names from there on; none for ``gin``.
    :param kind: ``text``, ``number`` or ``boolean``; ``gin`` for one index of the whole document, on PostgreSQL.
    """

    type: str
    root: str
    path: tuple[str, ...]
    kind: str

    @property
    def name(self) -> str:
        """The field as a filter names it."""
        return ".".join((self.root, *self.path))

    @classmethod
    def parse(cls, type_name: object, written: object) -> IndexedField:
        """Read a field such as ``data.amount:number``.

        :param type_name: a type, or :data:`ANY_TYPE`.
        :param written: a path as a filter has it, with a kind behind a colon where it is not text.
        :raises ValueError: when it is none; the message goes on from "it".
        """
        if not isinstance(type_name, str) or (type_name != ANY_TYPE and not _TYPE.fullmatch(type_name)):
            raise ValueError(f"has {shown(type_name)} for a type, which must be the name of one, or '*' for any")
        found = re.fullmatch(_WRITTEN, written) if isinstance(written, str) else None
        if found is None:
            raise ValueError(
                f"has {shown(written)} for a field, which must be like 'data.plan', 'data.amount:number', "
                "'metadata.paid:boolean' or 'data:gin'"
            )
        if found["document"]:
            return cls(type_name, found["document"], (), "gin")
        root, *members = found["path"].split(".")
        if len(members) > _DEEPEST:
            raise ValueError(f"has a path of {len(members)} members; no document has more than {_DEEPEST}")
        if "[POSTCOMPILE_" in found["path"]:  # SQLAlchemy would put a list of parameters there
            raise ValueError(f"has {shown(written)} for a field, where '[POSTCOMPILE_' must not be in a member's name")
        return cls(type_name, root, tuple(members), found["kind"] or "text")
