"""The two chat systems' own code, as their users wrote it, runs on every store without a change."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Optional

import pytest

from flask_statemanager import StateValidationError, flows
from flask_statemanager.flows import AtomicStateManager, FlowSession
from flask_statemanager.flows.components import Component, Place
from flask_statemanager.flows.responsibilities import Guarded, Wardenship
from tests import chat_reference_blocks as blocks
from tests.worlds import World

pytest_plugins = ["tests.flow_worlds"]


class Utc(datetime):
    """A datetime whose ``utcnow`` is no deprecated one; it has no time zone, as the original's has none."""

    @classmethod
    def utcnow(cls) -> datetime:
        return datetime(2026, 1, 1, 12, 30)  # noqa: DTZ001 - without a time zone on purpose


@pytest.fixture
def names(flow_world: World) -> dict[str, Any]:
    """The names that the blocks stand among."""
    session = flow_world.states.flows.open("whatsapp", "channel_specific_id")
    public = {name: getattr(flows, name) for name in flows.__all__}
    return {**public, "Any": Any, "Optional": Optional, "datetime": Utc, "state_manager": session}


def run(block: str, names: dict[str, Any]) -> None:
    exec(compile(block, "reference", "exec"), names)  # noqa: S102 - the blocks are ours


def evaluated(block: str, names: dict[str, Any]) -> dict[str, Any]:
    return eval(compile(block, "reference", "eval"), names)  # noqa: S307 - the blocks are ours


def working(component: Component, session: FlowSession) -> Component:
    """Give a component its place, where every breach raises."""
    guarded = Guarded(session, component.kind, type(component).__name__, Wardenship(lambda: True, lambda: None))
    component.bind(Place(guarded, type(component).__name__, "key"))
    return component


def fits(shape: Any, value: Any) -> bool:
    """Tell whether a value has the printed shape; a datetime is text, and what is not there yet may be None."""
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            name in value and fits(each, value[name]) for name, each in shape.items()
        )
    if value is None:
        return True
    if isinstance(shape, type) and issubclass(shape, datetime):
        return datetime.fromisoformat(value.replace("Z", "+00:00")) is not None
    return isinstance(value, shape) if isinstance(shape, type) else isinstance(value, str)


def updating(names: dict[str, Any]) -> None:
    """Run the block of updates, whose last statement is the one that must not be."""
    names.update(context="offer", component="amount", data={"amount": 5}, current=1, new_value=7)
    right, _, _wrong = blocks.STATE_UPDATES.partition("# WRONG")
    run(right, names)


def test_the_core_state_has_the_printed_members(names):
    shape = evaluated(blocks.CORE_STATE, names)
    assert fits(shape, names["state_manager"].get_state())
    updating(names)
    state = names["state_manager"].get_state()
    # The printed shape has an object there, and the printed update puts a moment there: both are kept as they are.
    for validation in (shape["flow_data"]["validation"], shape["_validation"]):
        validation["last_attempt"] = str
    assert fits(shape, state)
    assert state["flow_data"]["validation"]["last_attempt"] == "2026-01-01T12:30:00.000000Z"
    assert state["_validation"]["attempts"] == {"amount": 2}


def test_state_is_reached_by_accessors_and_directly(names):
    names["state_manager"].link_member("m1")
    run(blocks.STATE_ACCESS, names)
    assert (names["channel_id"], names["member_id"]) == ("channel_specific_id", "m1")
    assert names["channel"] == {"type": "whatsapp", "identifier": "channel_specific_id"}


def test_what_is_printed_as_wrong_is_refused(names):
    updating(names)
    with pytest.raises(StateValidationError, match="value: There is no such field"):
        run(blocks.STATE_UPDATES, names)
    assert names["state_manager"].get_flow_data() == {"amount": 5}


def test_a_display_component_reads(names):
    run(blocks.DISPLAY_COMPONENT, names)
    session = names["state_manager"]
    session.update_state({"active_account_id": "a1", "dashboard": {"ledger": []}})
    assert working(names["ViewLedger"](), session).validate_display(None) is None


def test_an_input_component_stores_what_it_has_validated(names):
    run(blocks.INPUT_COMPONENT, names)
    names["amount"] = 12.5
    session = names["state_manager"]
    working(names["AmountInput"](), session).validate("12.5")
    assert "12.5" in str(session.get_flow_state())


def test_an_api_component_calls_and_takes_the_action(names):
    session = names["state_manager"]

    def handled(*, response: Any, state_manager: Any) -> tuple[Any, None]:
        state_manager.update_state({"action": {"type": "UPGRADED", "id": response}})
        return {"ok": True}, None

    names.update(
        url="https://ledger", headers={}, payload={}, make_api_request=lambda *_: 7, handle_api_response=handled
    )
    run(blocks.API_COMPONENT, names)
    session.update_state({"dashboard": {"member": {"memberID": "m1"}}})
    result = working(names["UpgradeMemberApiCall"](), session).validate(None)
    assert result.value == {"action": {"type": "UPGRADED", "id": 7}}


def test_a_confirm_component_reads_the_flow_and_the_dashboard(names):
    run(blocks.CONFIRM_COMPONENT, names)
    session = names["state_manager"]
    session.update_state({"dashboard": {"member": {"memberID": "m1"}}, "flow_data": {"data": {"tier": 2}}})
    result = working(names["ConfirmUpgrade"](), session).handle_confirmation(True)
    assert (result.valid, result.value["confirmed"], result.value["member_id"]) == (True, True, "m1")
    assert result.value["data"]["tier"] == 2


def failing(message: str) -> Callable[..., Any]:
    def fail(*_arguments: Any) -> Any:
        raise RuntimeError(message)

    return fail


def test_errors_are_handled_as_printed(names, caplog):
    session = names["state_manager"]
    names.update(key="channel:channel_specific_id", logger=logging.getLogger("test"))
    names["redis_client"] = SimpleNamespace(get=failing("no Redis here"))
    run(blocks.ERROR_HANDLING, names)
    assert names["result"]["channel"]["identifier"] == "channel_specific_id"
    assert caplog.messages == ["no Redis here"]
    session.authenticate("m1", "s3cret")
    names["key"] = "\0"
    run(blocks.ERROR_HANDLING, names)
    told = flows.ErrorHandler.handle_error(
        RuntimeError("401 for s3cret"), session, flows.ErrorContext(error_type="system", message="401 for s3cret")
    )
    assert "s3cret" not in str(told)
    assert told.message == flows.ErrorHandler.sentences["system"]


def test_atomic_operations_answer_as_printed(names):
    atomic = names["atomic_state"] = names["state_manager"].atomic_state
    assert isinstance(atomic, AtomicStateManager)
    names.update(key="channel:263771", value={"step": 1}, redis_client=SimpleNamespace(set=lambda *_: None))
    run(blocks.ATOMIC_OPERATIONS, names)
    assert (names["success"], names["data"], names["error"]) == (True, {"step": 1}, None)
    assert atomic.atomic_get("channel:263771") == {"step": 1}


def test_the_members_state_has_the_printed_members(names):
    names.update(true=True, current_step="amount", timestamp="now")
    printed = evaluated(blocks.MEMBER_STATE, names)
    session = names["state_manager"]
    session.authenticate(printed["member_id"], printed["jwt_token"])
    flow = printed["flow_data"]
    session.update_state({"profile": {"name": "Ada"}, "current_account": {"handle": "ada"}, "flow_data": flow})
    state = session.get_state()
    assert printed.keys() <= state.keys()
    for name in ("member_id", "channel", "jwt_token", "authenticated"):
        assert state[name] == printed[name], name
    assert (state["flow_data"]["id"], state["flow_data"]["step"]) == ("flow_id", "amount")
    assert state["flow_data"]["data"]["channel"] == flow["data"]["channel"]
    assert flow["data"].keys() - {"_validation_context", "_validation_state"} <= state["flow_data"]["data"].keys()
