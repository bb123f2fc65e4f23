"""Which argument is which parameter: Dash passes what the browser sent, and the stores' parameters may be others."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from inspect import BoundArguments, Parameter
from typing import Any

from ...errors import ConfigurationError

_BY_PLACE = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


class Binding:
    """Knows the parameters of a callback.

    :param function: the callback.
    :param filled: the parameters that stores fill.
    :raises ConfigurationError: when the callback has no such parameter.
    """

    def __init__(self, function: Callable[..., Any], filled: Iterable[str]) -> None:
        self._signature = inspect.signature(function)
        self._parameters = self._signature.parameters
        kinds = [each.kind for each in self._parameters.values()]
        self._any_name = Parameter.VAR_KEYWORD in kinds
        self._any_number = Parameter.VAR_POSITIONAL in kinds
        self._by_place = [name for name, each in self._parameters.items() if each.kind in _BY_PLACE]
        for name in filled:
            if not self.takes(name):
                raise ConfigurationError(
                    f"The callback {getattr(function, '__name__', function)} has no parameter {name!r} for a store to "
                    f"fill: it has {', '.join(self._parameters) or 'none'}."
                )

    def takes(self, name: str) -> bool:
        """Tell whether there is a parameter.

        :param name: what it is called.
        """
        known = self._parameters.get(name)
        return self._any_name if known is None else known.kind in (*_BY_PLACE, *_BY_NAME)

    def needs(self, name: str) -> bool:
        """Tell whether a parameter has to be passed.

        :param name: what it is called.
        """
        known = self._parameters.get(name)
        return known is not None and known.default is Parameter.empty

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], unsent: Iterable[str]) -> dict[str, Any]:
        """Return the arguments by parameter.

        Where Dash passes fewer than there are parameters, those that stores fill, and that the browser sent nothing
        for, are left out.

        :param args: by place.
        :param kwargs: by name.
        :param unsent: the parameters that stores fill and that the browser sent nothing for.
        :raises TypeError: when there are more arguments than parameters.
        """
        free = [name for name in self._by_place if name not in kwargs]
        short = len(free) - len(args)
        left_out = [name for name in free if name in set(unsent)][-short:] if short > 0 else []
        taken = [name for name in free if name not in left_out]
        values = dict(zip(taken, args, strict=False))
        rest = args[len(taken) :]
        if rest and not self._any_number:
            # Python's own words for what is wrong.
            self._signature.bind(*args, **kwargs)
        return values | dict(kwargs) | ({_REST: rest} if rest else {})

    def passed(self, values: Mapping[str, Any]) -> BoundArguments:
        """Return the arguments as the callback is to be called.

        :param values: by parameter.
        """
        arguments: dict[str, Any] = {}
        others = {name: value for name, value in values.items() if name not in self._parameters and name != _REST}
        for name, each in self._parameters.items():
            if each.kind is Parameter.VAR_POSITIONAL:
                arguments[name] = values.get(_REST, ())
            elif each.kind is Parameter.VAR_KEYWORD:
                arguments[name] = others
            elif name in values:
                arguments[name] = values[name]
        return BoundArguments(self._signature, arguments)


_REST = "*"
"""What is passed by place beyond the parameters; no parameter is called so."""
