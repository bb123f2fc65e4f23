"""Settings as classes that declare their keys, each with how it is read, its default and its meaning.

It is a dataclass in what it does, without the code that a dataclass writes and compiles for some sixty fields whenever
the package is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, NoReturn


class Declaration(NamedTuple):
    """One key.

    :param read: reads its value as it stands in the config, or raises ValueError.
    :param default: its value where it is left out.
    :param doc: what it means.
    :param alias: its second name, or None.
    :param secret: whether an error must not show its value.
    """

    read: Callable[[Any], Any]
    default: Any
    doc: str
    alias: str | None
    secret: bool


def declared(
    read: Callable[[Any], Any], default: Any, doc: str, *, alias: str | None = None, secret: bool = False
) -> Any:
    """Declare a setting.

    :param read: reads its value as it stands in the config, or raises ValueError.
    :param default: its value where it is left out.
    :param doc: what it means, for the docs.
    :param alias: its second name, in the config or the environment.
    :param secret: whether an error must not show its value.
    """
    return Declaration(read, default, doc, alias, secret)


class DeclaredSettings:
    """The base of settings; what its classes declare are attributes that nobody sets again.

    :param given: values by name; the others have their defaults.
    :raises TypeError: when one of them is not declared.
    """

    declarations: ClassVar[dict[str, Declaration]] = {}

    def __init_subclass__(cls) -> None:
        own = {name: each for name, each in vars(cls).items() if isinstance(each, Declaration)}
        cls.declarations = {**cls.declarations, **own}

    def __init__(self, **given: Any) -> None:
        unknown = given.keys() - self.declarations.keys()
        if unknown:
            raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
        for name, each in self.declarations.items():
            self.__dict__[name] = given.get(name, each.default)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name} is read from the config once, and not set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{name} is read from the config once, and not removed")
