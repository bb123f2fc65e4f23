"""The Credit System's own code, as its users wrote it, runs on every store without a change."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import create_engine

import flask_statemanager
from flask_statemanager import StateManager, StateTransition, StateType
from tests import reference_blocks as blocks

STORES = ("memory", "sqlite app", "postgres app", "sqlite manager", "postgres manager")


@dataclass
class CreditSystem:
    """The surroundings of the blocks: one namespace, the external services, and a store."""

    managers: SimpleNamespace
    prepare: Callable[[], None]
    names: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names.update(
            StateManager=StateManager,
            StateType=StateType,
            StateTransition=StateTransition,
            datetime=datetime,
            app_manager=self.managers,
            notification_service=SimpleNamespace(send_suspension_notice=self.noting("notice")),
            billing_service=SimpleNamespace(suspend_billing=self.noting("billing")),
            payment_processor=SimpleNamespace(process=self.paid),
            send_verification_email=self.noting("email"),
            create_user_state=lambda user_id: {"data": {"user_id": user_id, "status": "new", "email": "a@example.com"}},
            activate_user_data=lambda: {"data": {"status": "active"}},
            suspend_user_data=lambda: {"data": {"status": "suspended"}},
            resume_user_data=lambda: {"data": {"status": "active"}},
        )

    def noting(self, what: str) -> Callable[[Any], None]:
        return lambda *arguments: self.calls.append((what, *arguments))

    def paid(self, transaction_id: str, amount: float) -> SimpleNamespace:
        self.calls.append(("payment", transaction_id, amount))
        return SimpleNamespace(success=amount < 100, error="declined")

    def run(self, block: str) -> None:
        exec(compile(block, "reference", "exec"), self.names)  # noqa: S102 - the blocks are ours

    @property
    def manager(self) -> StateManager:
        found: StateManager = self.names["state_manager"]
        return found

    def start_anew(self) -> None:
        """Reset the singleton, and where the store is a manager's, name it again as an application would."""
        StateManager.reset_instance()
        self.prepare()


@pytest.fixture(params=STORES)
def system(request: pytest.FixtureRequest, redis_url: str, tmp_path: Any) -> Iterator[CreditSystem]:
    store, _, way = request.param.partition(" ")
    url = {
        "memory": lambda: None,
        "sqlite": lambda: f"sqlite:///{tmp_path / 'credit.sqlite'}",
        "postgres": lambda: request.getfixturevalue("postgres_url"),
    }[store]()
    with ExitStack() as stack, warnings.catch_warnings():
        # Without an app and a database the manager says that nothing outlives the process.
        warnings.filterwarnings("ignore", message="Flask-StateManager works in memory")
        client = stack.enter_context(redis.Redis.from_url(redis_url))
        engine = create_engine(url or "sqlite://")
        stack.callback(engine.dispose)
        managers = SimpleNamespace(
            redis_manager=SimpleNamespace(client=client), database_manager=SimpleNamespace(engine=engine)
        )
        StateManager.reset_instance()
        stack.callback(StateManager.reset_instance)
        if way == "app":
            stack.enter_context(serving(url))
        named = vars(managers) if way == "manager" else {}
        made = CreditSystem(managers, lambda: StateManager.get_instance(**named) and None)
        made.prepare()
        yield made


def serving(url: str) -> Any:
    """Return the context of an application that keeps its states in this database."""
    app = Flask("credit")
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    db = SQLAlchemy(app)
    StateManager(app)
    stack = ExitStack()
    stack.enter_context(app.app_context())
    db.create_all()
    stack.callback(db.engine.dispose)
    return stack


@pytest.mark.parametrize("block", [blocks.STATE_TYPES, blocks.STATE_TRANSITIONS])
def test_the_printed_enums_have_the_members_of_ours(block):
    names: dict[str, Any] = {"Enum": Enum}
    exec(compile(block, "reference", "exec"), names)  # noqa: S102 - the block is ours
    [theirs] = [value for value in names.values() if isinstance(value, type) and value is not Enum]
    ours = getattr(flask_statemanager, theirs.__name__)
    assert [(member.name, member.value) for member in ours] == [(member.name, member.value) for member in theirs]


@pytest.fixture(params=["our enums", "their own enums"])
def enums(request: pytest.FixtureRequest, system: CreditSystem) -> None:
    """The blocks run with the enums of this package, and with those that the users wrote themselves."""
    if request.param == "their own enums":
        system.names["Enum"] = Enum
        system.run(blocks.STATE_TYPES)
        system.run(blocks.STATE_TRANSITIONS)


@pytest.mark.usefixtures("enums")
def test_every_block_runs_in_the_printed_order(system):
    feature_blocks(system)
    system.start_anew()
    manager_blocks(system)
    system.start_anew()
    usage_blocks(system)


def feature_blocks(system: CreditSystem) -> None:
    """Run the blocks of the chapter on core features."""
    system.run(blocks.STATE_REGISTRATION_AND_MANAGEMENT)
    assert system.names["result"]["data"] == system.names["user_state"]["data"]
    system.run(blocks.STATE_RETRIEVAL_AND_QUERYING)
    assert system.names["user_state"]["name"] == "user_account_state"
    assert [state["state_id"] for state in system.names["active_users"]] == ["user_12345"]
    system.run(blocks.STATE_TRANSITIONS_AND_UPDATES)
    assert (system.names["result"]["status"], system.names["result"]["version"]) == ("suspended", 2)
    system.run(blocks.STATE_HISTORY_AND_AUDIT_TRAIL)
    assert [entry["transition_type"] for entry in system.names["history"]] == ["create", "suspend"]
    assert [entry["version"] for entry in system.names["recent_changes"]] == [2, 1]
    assert [entry["version"] for entry in system.names["suspensions"]] == [2]
    system.run(blocks.STATE_CALLBACKS_AND_EVENT_HANDLING)
    system.run(blocks.STATE_VALIDATION_AND_CONSTRAINTS)
    system.manager.update_state("user_12345", transition=system.names["StateTransition"].RESUME)
    assert system.calls == []
    system.manager.update_state("user_12345", transition=system.names["StateTransition"].SUSPEND)
    assert system.calls == [("notice", "user_12345"), ("billing", "user_12345")]
    with pytest.raises(flask_statemanager.StateValidationError, match="validate_user_state"):
        system.manager.update_state("user_12345", {"email": None})


def manager_blocks(system: CreditSystem) -> None:
    """Run the blocks of the chapter on integration."""
    system.run(blocks.SINGLETON_PATTERN_USAGE)
    assert system.names["state_manager"] is system.names["state_manager_1"]
    system.run(blocks.REDIS_INTEGRATION)
    system.run(blocks.DATABASE_INTEGRATION)
    before = system.manager
    system.run(blocks.TESTING_SUPPORT)
    assert system.manager is not before


def usage_blocks(system: CreditSystem) -> None:
    """Run the blocks with whole examples, and what they define."""
    system.run(blocks.EXAMPLE_TEST)
    system.names["test_user_state_lifecycle"]()
    system.run(blocks.USER_MANAGEMENT)
    system.names["register_user"]({"id": "user_7", "email": "seven@example.com"})
    system.names["on_user_verified"]("user_7")
    system.run(blocks.TRANSACTION_PROCESSING)
    system.names["process_transaction"]("tx_1", 10.5)
    system.names["process_transaction"]("tx_2", 1000.0)
    manager = system.names["state_manager"] = StateManager()
    user = manager.get_state("user_7")
    assert (user.status, user.data["status"], user.data["email"]) == ("active", "active", "seven@example.com")
    assert [manager.get_state(name).status for name in ("tx_1", "tx_2")] == ["active", "expired"]
    assert manager.get_state("tx_2").data["error"] == "declined"
    expected = [("email", "seven@example.com"), ("payment", "tx_1", 10.5), ("payment", "tx_2", 1000.0)]
    assert system.calls[-3:] == expected


def test_the_monitoring_blocks_give_what_they_promise(system, caplog):
    system.names["state_manager"] = StateManager()
    with caplog.at_level(logging.INFO, logger="flask_statemanager.operations"):
        system.run(blocks.LOGGING)
    [record] = caplog.records
    assert (record.operation, record.state_id, record.transition_type, record.duration_ms) == (
        *("state_update", "user_12345", "activate", 45),
    )
    system.manager.register_state("user_1", StateType.USER, {})
    system.run(blocks.HEALTH_CHECKS)
    health = system.names["health_status"]
    assert {"status", "state_count", "cache_hit_rate"} <= health.keys()
    assert (health["status"], health["state_count"]) == ("healthy", 1)


def test_a_callback_is_called_with_the_printed_signature(system):
    told: list[tuple[Any, ...]] = []

    def user_suspended_callback(state_id: str, old_state: dict, new_state: dict, transition_type: str):
        told.append((state_id, old_state, new_state, transition_type))

    manager = StateManager()
    manager.register_callback("user_suspended", user_suspended_callback)
    old = manager.register_state("user_1", StateType.USER, {"user_id": "1"})
    new = manager.update_state("user_1", {"suspended_reason": "payment_failed"}, StateTransition.SUSPEND)
    assert told == [("user_1", old, new, "suspend")]
    assert [type(value) for value in told[0][1:3]] == [flask_statemanager.State] * 2


def test_the_example_test_counts_four_entries(system):
    system.run(blocks.EXAMPLE_TEST)
    system.names["test_user_state_lifecycle"]()
    history = StateManager().get_state_history("test_user")
    assert [entry["transition_type"] for entry in history] == ["create", "activate", "suspend", "resume"]
    assert [entry["version"] for entry in history] == [1, 2, 3, 4]
