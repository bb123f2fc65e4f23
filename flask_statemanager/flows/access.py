"""From the manager to its flows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .definitions import FlowDefinitions
from .parts import FlowParts
from .turns import Conduct

if TYPE_CHECKING:
    from .face import Flows


class FlowAccess(ABC):
    """The way from the manager to conversations."""

    @abstractmethod
    def _flow_parts(self) -> FlowParts:
        """Return what flows stand on, in the present app."""

    @abstractmethod
    def _flow_conduct(self) -> Conduct:
        """Return what turns stand on, in the present app."""

    @abstractmethod
    def _declaring_flows(self) -> FlowDefinitions:
        """Return the declarations of flows, for something to be added."""

    @property
    def flows(self) -> Flows:
        """The conversations."""
        flows: Flows = _face().Flows(self._flow_parts, self._declaring_flows, self._flow_conduct)
        return flows


@cache
def _face() -> Any:
    """Import the conversations at their first use, as not every application has them."""
    return import_module(f"{__package__}.face")
