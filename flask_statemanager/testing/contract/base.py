"""What every backend promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from ...core.ports import Backend
from ...core.powers import powers_of
from .altering import AlteringContract
from .fidelity import FidelityContract
from .over import OverContract
from .store import Store
from .writing import WritingContract


class BackendContract(WritingContract, AlteringContract, OverContract, FidelityContract):
    """The promises of every backend; subclass it, with one further class for each power.

    :cvar powers: the class names of the powers that the backend declares.
    """

    powers: ClassVar[set[str]] = set()

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """A fresh, empty backend, closed afterwards; override it.

        :raises NotImplementedError: here.
        """
        raise NotImplementedError("Override the fixture 'backend' in your subclass of BackendContract.")

    @pytest.fixture
    def store(self, backend: Backend) -> Store:
        """The backend with short verbs."""
        return Store(backend)

    def test_exactly_the_declared_powers_are_there(self, backend: Backend) -> None:
        """A power is declared if and only if the backend has its class."""
        assert powers_of(backend) == self.powers

    def test_every_power_is_held_to_its_contract(self) -> None:
        """The test class has the contract of each declared power, and of no other."""
        held = {vars(part)["power"] for part in type(self).__mro__ if "power" in vars(part)}
        assert held == self.powers

    def test_it_has_a_title_for_messages_and_an_identity(self, backend: Backend) -> None:
        """Messages name the backend, and its identity stays the same."""
        assert backend.title
        assert backend.identity
        assert backend.identity == backend.identity
        assert isinstance(backend.shareable, bool)
