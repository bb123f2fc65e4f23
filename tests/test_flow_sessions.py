"""The session of a conversation: what it tells, what it does, and where that lies."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, fields, validate

from flask_statemanager import ConfigurationError, LimitExceeded, StateConflict, StateManagerError, StateValidationError
from flask_statemanager.flows import FlowSession, FlowStateManager, InMemoryMessaging
from flask_statemanager.flows.channel import Channel, channel_at, coded, decoded, member_key
from tests.flow_worlds import stored
from tests.worlds import World

pytest_plugins = ["tests.flow_worlds"]

CHANNEL_KEY = "channel:web:ada"


@pytest.fixture
def session(flow_world: World) -> FlowSession:
    """The conversation of a channel, which has not begun."""
    return flow_world.states.flows.open("web", "ada")


@pytest.fixture
def memory_session(memory_flow_world: World) -> FlowSession:
    """The same in memory, for what does not depend on the store."""
    return memory_flow_world.states.flows.open("web", "ada")


def again(world: World, channel_type: str = "web", channel_id: str = "ada") -> FlowSession:
    """Open a conversation anew."""
    return world.states.flows.open(channel_type, channel_id)


# -- keys ---------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=12).filter(lambda text: "\0" not in text and text.isprintable()))
def test_any_identifier_has_a_name_of_its_own(identifier):
    written = coded(identifier, "identifier")
    assert decoded(written) == identifier
    assert channel_at(Channel("web", identifier).key) == Channel("web", identifier)


def test_two_channel_types_may_share_an_identifier(flow_world):
    one, other = again(flow_world, "web", "7"), again(flow_world, "whatsapp", "7")
    one.update_state({"profile": {"name": "Ada"}})
    assert other.refresh().get("profile") == {}
    assert channel_at("member:7") is channel_at("channel:7") is None


@pytest.mark.parametrize(
    ("kind", "identifier"), [("", "x"), ("we b", "x"), ("web", ""), ("web", None), ("web", "a\0b")]
)
def test_an_impossible_channel_is_refused(memory_flow_world, kind, identifier):
    with pytest.raises(StateValidationError, match="channel"):
        memory_flow_world.states.flows.open(kind, identifier)


def test_an_identifier_is_not_longer_than_a_key_can_be(memory_flow_world):
    with pytest.raises(LimitExceeded):
        memory_flow_world.states.flows.open("web", "x" * 201)
    with pytest.raises(StateValidationError, match="too long for the name"):
        memory_flow_world.states.flows.open("web", "é" * 100)


# -- reading ------------------------------------------------------------------------------------------------------


def test_a_conversation_that_has_not_begun_is_empty_and_not_stored(session, flow_world):
    assert (session.version, session.get_member_id(), session.is_authenticated()) == (0, None, False)
    assert (session.get_channel_type(), session.get_channel_id()) == ("web", "ada")
    assert session.get_flow_state()["action"] == session.get_flow_data() == {}
    assert session.get_path() is session.get_component() is session.get_component_result() is None
    assert not session.is_awaiting_input()
    assert session.get("dashboard") == {}
    assert session.get("nothing", "default") == session.get("member_id", "default") == "default"
    assert stored(flow_world, CHANNEL_KEY) is None


def test_both_spellings_of_the_flow_are_written_and_read(session, flow_world):
    session.update_state({"flow_data": {"id": "f1", "context": "offer", "step": 2, "data": {"amount": 5}}})
    for found in (session, again(flow_world)):
        flow = found.get_flow_state()
        assert (flow["id"], flow["context"], flow["path"], flow["component"], flow["step"]) == (
            *("f1", "offer", "offer", 2, 2),
        )
        assert (found.get_path(), found.get_component(), found.get_flow_data()) == ("offer", 2, {"amount": 5})
    session.update_state({"flow_data": {"path": "offer", "context": "offer", "component": "confirm"}})
    assert again(flow_world).get("flow_data")["step"] == "confirm"


def test_two_spellings_that_contradict_each_other_are_refused(memory_session):
    with pytest.raises(StateValidationError, match="same thing"):
        memory_session.update_state({"flow_data": {"path": "offer", "context": "account"}})


def test_validation_is_one_thing_under_every_name(session, flow_world):
    moment = datetime(2026, 1, 1, 12, 0)  # noqa: DTZ001 - without a time zone on purpose
    validation = {"in_progress": True, "attempts": 2, "last_attempt": moment}
    session.update_state({"flow_data": {"context": "offer", "component": "amount", "validation": validation}})
    found = again(flow_world)
    flow = found.get_flow_state()
    assert flow["validation"] == flow["data"]["_validation_state"]
    assert flow["validation"]["attempts"] == found.get_attempts() == 2
    assert flow["validation"]["last_attempt"] == "2026-01-01T12:00:00.000000Z"
    assert found.get("_validation")["attempts"] == {"amount": 2}
    data = {"_validation_state": {"attempts": 3}, "_validation_context": {"a": 1}}
    session.update_state({"flow_data": {"data": data}})
    flow = session.get_flow_state()
    assert (flow["validation"]["attempts"], flow["data"]["_validation_context"]) == (3, {"a": 1})
    session.update_state({"_validation": {"attempts": {"handle": 1}}})
    assert session.get("_validation")["attempts"] == {"amount": 3, "handle": 1}
    assert again(flow_world).get_flow_data() == {}


def test_what_was_returned_can_be_edited_without_harm(memory_session):
    memory_session.update_state({"profile": {"names": ["Ada"]}, "flow_data": {"data": {"list": [1]}}})
    memory_session.get("profile")["names"].append("x")
    memory_session.get_flow_state()["data"]["list"].append("x")
    memory_session.get_flow_data()["list"].append("x")
    assert memory_session.get("profile") == {"names": ["Ada"]}
    assert memory_session.get_flow_data() == {"list": [1]}


def test_times_and_version_are_those_of_the_record(session, flow_world):
    session.update_state({"profile": {"a": 1}})
    flow_world.clock.advance(7)
    session.update_state({"profile": {"b": 2}})
    state = again(flow_world).get_state()
    assert (state["_version"], state["_last_updated"]) == (2, "2026-01-01T12:00:07.000000Z")
    assert state["_metadata"] == {
        "initialized_at": "2026-01-01T12:00:00.000000Z",
        "updated_at": "2026-01-01T12:00:07.000000Z",
    }


# -- updating -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("update", "field"),
    [
        ({"value": 1}, "value"),
        ({"member_id": "m1"}, "member_id"),
        ({"channel": {"type": "web", "identifier": "eve"}}, "channel"),
        ({"auth": {"token": "t"}}, "auth"),
        ({"jwt_token": "t"}, "jwt_token"),
        ({"_channels": []}, "_channels"),
        ({"profile": [1]}, "profile"),
        ({"active_account_id": {}}, "active_account_id"),
        ({"flow_data": {"nonsense": 1}}, "flow_data.nonsense"),
        ({"flow_data": {"component": {}}}, "flow_data.component"),
        ({"flow_data": {"data": "x"}}, "flow_data.data"),
        ({"flow_data": {"data": {"member_id": "m1"}}}, "flow_data.data.member_id"),
        ({"flow_data": {"validation": {"attempts": -1}}}, "flow_data.validation.attempts"),
        ({"flow_data": {"validation": {"in_progress": "yes"}}}, "flow_data.validation.in_progress"),
        ({"flow_data": {"validation": 1}}, "flow_data.validation"),
        ({"flow_data": 1}, "flow_data"),
        ({"profile": {"x": float("nan")}}, "state.profile.x"),
        ("text", "state"),
    ],
)
def test_an_update_that_is_refused_changes_nothing_but_counts(memory_session, memory_flow_world, update, field):
    memory_session.update_state({"profile": {"name": "Ada"}})
    with pytest.raises(StateValidationError) as refused:
        memory_session.update_state(update)
    assert list(refused.value.errors) == [field]
    found = again(memory_flow_world)
    assert found.get("profile") == {"name": "Ada"}
    assert found.get("_validation")["attempts"] == {"update_state": 1}
    assert field in found.get("_validation")["error"]


def test_what_is_critical_may_be_passed_as_it_is(memory_session):
    memory_session.authenticate("m1", "secret")
    state = memory_session.get_state()
    memory_session.update_state({**state, "profile": {"name": "Ada"}})
    assert memory_session.get("profile") == {"name": "Ada"}
    assert memory_session.get("jwt_token") == "secret"


def test_none_removes_and_objects_nest(memory_session):
    memory_session.update_state({"dashboard": {"a": {"b": 1}, "c": 2}, "flow_data": {"path": "p", "component": "c"}})
    memory_session.update_state({"dashboard": {"a": {"d": 3}, "c": None}})
    assert memory_session.get("dashboard") == {"a": {"b": 1, "d": 3}}
    memory_session.update_state({"flow_data": None, "dashboard": None})
    assert (memory_session.get_path(), memory_session.get("dashboard")) == (None, {})


class Cart(Schema):
    """What an application adds."""

    cart = fields.Dict()
    coupon = fields.String(validate=validate.Length(max=5), data_key="voucher")


def test_an_application_adds_fields_by_a_schema(memory_session, memory_flow_world):
    memory_flow_world.states.flows.register_schema(Cart)
    session = again(memory_flow_world)
    session.update_state({"cart": {"sku": 1}, "voucher": "FIVE"})
    assert again(memory_flow_world).get("cart") == {"sku": 1}
    with pytest.raises(StateValidationError, match="Longer than maximum length 5") as refused:
        session.update_state({"voucher": "TOO LONG"})
    assert list(refused.value.errors) == ["voucher"]
    session.clear_all_state()
    assert session.get("cart") is None


@pytest.mark.parametrize("schema", [1, type("Profile", (Schema,), {"profile": fields.Dict()})])
def test_a_schema_that_cannot_be_is_refused(memory_flow_world, schema):
    with pytest.raises(ConfigurationError, match="declare"):
        memory_flow_world.states.flows.register_schema(schema)


def test_a_document_that_gets_too_large_is_refused(memory_flow_world):
    session = again(memory_flow_world)
    with pytest.raises(LimitExceeded):
        session.update_state({"profile": {"x": "y" * 2**21}})
    assert again(memory_flow_world).version == 0


# -- the flow -----------------------------------------------------------------------------------------------------


def test_the_verbs_of_a_flow_are_written_at_once(session, flow_world):
    session.transition_flow("offer", "amount", data={"began": True})
    session.set_component_awaiting(True)
    session.set_component_result({"amount": 5})
    session.update_component_data({"amount": 5, "began": None})
    found = again(flow_world)
    assert (found.get_path(), found.get_component(), found.is_awaiting_input()) == ("offer", "amount", True)
    assert (found.get_component_result(), found.get_flow_data()) == ({"amount": 5}, {"amount": 5})
    assert found.version == 4
    session.transition_flow("offer", "handle")
    found = again(flow_world)
    assert (found.get_component_result(), found.is_awaiting_input()) == (None, False)
    assert found.get_flow_state()["previous"] == {"path": "offer", "component": "amount", "data": {"amount": 5}}


def test_steps_are_remembered_up_to_a_bound_however_they_were_taken(memory_session):
    for number in range(15):
        memory_session.update_state({"flow_data": {"path": "p", "component": f"c{number}"}})
    document = memory_session._document()["flow_data"]
    assert [step["component"] for step in document["previous"]] == [f"c{number}" for number in range(4, 14)]


def test_attempts_are_counted_until_one_succeeds_and_outlive_the_process(session, flow_world):
    session.transition_flow("offer", "amount")
    session.track_validation(error="Send a number.", attempt="ten")
    session.track_validation(error="Send a number.", attempt="12x")
    found = again(flow_world)
    validation = found.get_flow_state()["validation"]
    assert (found.get_attempts(), validation["in_progress"], validation["error"]) == (2, True, "Send a number.")
    assert validation["last_attempt"]["value"] == "12x"
    found.track_validation(attempt=12)
    assert (again(flow_world).get_attempts(), found.get_flow_state()["validation"]["error"]) == (0, None)


def test_clearing_the_flow_keeps_the_core_and_clearing_all_keeps_the_channel(session, flow_world):
    session.authenticate("m1", "secret")
    session.update_state({"profile": {"name": "Ada"}, "flow_data": {"path": "offer"}})
    session.clear_flow_data()
    found = again(flow_world)
    assert (found.get_path(), found.get_member_id(), found.is_authenticated()) == (None, "m1", True)
    session.refresh().clear_all_state()
    found = again(flow_world)
    assert (found.get_member_id(), found.get("profile"), found.get_channel_id()) == (None, {}, "ada")
    assert stored(flow_world, member_key("m1")) is None


@pytest.mark.parametrize("path", ["", None, 7, "x" * 256])
def test_a_step_needs_names(memory_session, path):
    with pytest.raises((StateValidationError, LimitExceeded)):
        memory_session.transition_flow(path, "amount")
    with pytest.raises(StateValidationError):
        memory_session.update_component_data([1])


# -- a turn -------------------------------------------------------------------------------------------------------


def test_a_turn_is_one_version_and_its_messages_follow_the_commit(session, flow_world):
    messaging = InMemoryMessaging()
    flow_world.states.flows.use_messaging(messaging)
    with session:
        session.transition_flow("offer", "amount")
        with session:
            session.set_component_awaiting(True)
        session.messaging.send_text("How much?")
        assert (session.pending, messaging.sent, again(flow_world).version) == (True, [], 0)
        assert session.get_component() == "amount"
    found = again(flow_world)
    assert (found.version, found.get_component(), found.is_awaiting_input()) == (1, "amount", True)
    assert messaging.sent_to("web", "ada") == ["How much?"]
    session.messaging.send({"kind": "menu"}, key="k1")
    session.messaging.send({"kind": "menu"}, key="k1")
    assert messaging.sent_to("web", "ada") == ["How much?", {"kind": "menu"}]


def test_a_turn_that_raises_leaves_nothing(session, flow_world):
    messaging = InMemoryMessaging()
    flow_world.states.flows.use_messaging(messaging)

    def turn() -> None:
        with session:
            session.transition_flow("offer", "amount")
            session.messaging.send_text("How much?")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        turn()
    assert (session.get_component(), session.pending, session.messaging.held) == (None, False, ())
    assert (again(flow_world).version, messaging.sent) == (0, [])


def test_a_turn_is_made_again_on_what_somebody_else_has_written(session, flow_world):
    with session:
        session.update_state({"profile": {"first": "Ada"}})
        again(flow_world).update_state({"profile": {"last": "Lovelace"}})
    assert again(flow_world).get("profile") == session.get("profile") == {"first": "Ada", "last": "Lovelace"}


@pytest.mark.parametrize("before", [0, 1])
def test_a_strict_commit_refuses_when_somebody_was_faster(flow_world, before):
    for _ in range(before):
        again(flow_world).update_state({"profile": {"x": 1}})
    session = again(flow_world)
    session.__enter__()
    session.update_state({"profile": {"first": "Ada"}})
    again(flow_world).update_state({"profile": {"last": "Lovelace"}})
    with pytest.raises(StateConflict):
        session.commit(strict=True)
    assert session.pending
    session.refresh().commit(strict=True)
    assert again(flow_world).get("profile")["first"] == "Ada"


def test_the_channel_changes_by_its_own_verb_alone(session, flow_world):
    session.update_state({"profile": {"name": "Ada"}})
    session.initialize_channel("whatsapp", "+1")
    assert (session.get_channel_type(), session.get_channel_id(), session.get("profile")) == ("whatsapp", "+1", {})
    assert (session.version, again(flow_world, "whatsapp", "+1").version) == (1, 1)
    assert again(flow_world).get("profile") == {"name": "Ada"}
    session.__enter__()
    session.update_state({"profile": {"name": "Bob"}})
    with pytest.raises(StateManagerError, match="middle of a turn"):
        session.initialize_channel("web", "eve")


def test_nothing_secret_is_shown(session):
    session.authenticate("m1", "s3cret")
    assert "s3cret" not in repr(session)
    assert FlowStateManager is FlowSession
    session.note("api", answer=["401 for s3cret"])
    assert session.notes[-1].details == {"answer": ["401 for [redacted]"]}


# -- members ------------------------------------------------------------------------------------------------------


def test_a_token_counts_until_its_moment_by_the_stores_clock(session, flow_world):
    session.authenticate("m1", "secret", ttl=60)
    for found in (session, again(flow_world)):
        assert (found.jwt_token, found.get("jwt_token"), found.authenticated) == ("secret", "secret", True)
        assert found.get("auth")["expires_at"] == "2026-01-01T12:01:00.000000Z"
    flow_world.clock.advance(60 - 1e-6)
    assert again(flow_world).is_authenticated()
    flow_world.clock.advance(1e-6)
    found = again(flow_world)
    assert (found.is_authenticated(), found.get("jwt_token"), found.get_member_id()) == (False, None, "m1")
    session.authenticate("m1", "another")
    session.end_authentication()
    assert (session.is_authenticated(), session.get_member_id()) == (False, "m1")


@pytest.mark.parametrize(
    ("member", "token", "ttl"),
    [("", "t", 1), (None, "t", 1), ("m", "", 1), ("m", 7, 1), ("m", "t", 0), ("m", "t", "1")],
)
def test_a_login_that_cannot_be_is_refused(memory_session, member, token, ttl):
    with pytest.raises(StateValidationError):
        memory_session.authenticate(member, token, ttl)
    assert memory_session.version == 0


def test_a_conversation_begun_on_one_channel_continues_on_another(session, flow_world):
    session.transition_flow("offer", "amount")
    session.authenticate(42, "secret")
    phone = again(flow_world, "whatsapp", "+1")
    phone.update_state({"current_account": {"handle": "ada"}})
    phone.link_member("42")
    assert (phone.get_component(), phone.get_member_id(), phone.get_channel_id()) == ("amount", "42", "+1")
    assert phone.get("current_account") == {"handle": "ada"}
    phone.transition_flow("offer", "handle")
    found = again(flow_world)
    assert (found.get_component(), found.get_channel_id(), found.is_authenticated()) == ("handle", "ada", True)
    assert found.get("current_account") == {"handle": "ada"}
    assert found.version == phone.version


@pytest.mark.parametrize(("flow", "component"), [("member", "theirs"), ("channel", "own")])
def test_whose_flow_goes_on_can_be_chosen(memory_flow_world, flow, component):
    first = again(memory_flow_world)
    first.link_member("m1")
    first.transition_flow("offer", "theirs")
    second = again(memory_flow_world, "whatsapp", "+1")
    second.transition_flow("onboard", "own")
    second.link_member("m1", flow=flow)
    assert (second.get_component(), again(memory_flow_world).get_component()) == (component, component)
    with pytest.raises(StateValidationError, match="neither"):
        second.link_member("m1", flow="both")


def test_a_channel_belongs_to_one_member_at_a_time(session, flow_world):
    session.link_member("m1")
    session.link_member("m1")
    with pytest.raises(StateValidationError, match="clear_all_state"):
        session.link_member("m2")
    session.clear_all_state()
    session.link_member("m2")
    assert again(flow_world).get_member_id() == "m2"
    assert stored(flow_world, member_key("m1")) is None


def test_leaving_takes_one_channel_and_the_others_go_on(session, flow_world):
    session.link_member("m1")
    phone = again(flow_world, "whatsapp", "+1")
    phone.link_member("m1")
    phone.transition_flow("offer", "amount")
    session.refresh().clear_all_state()
    assert (again(flow_world).get_member_id(), again(flow_world).get_component()) == (None, None)
    assert again(flow_world, "whatsapp", "+1").get_component() == "amount"


def test_two_channels_at_once_keep_each_others_writes(session, flow_world):
    session.link_member("m1")
    phone = again(flow_world, "whatsapp", "+1")
    phone.link_member("m1")
    session.refresh()
    with session, phone:
        session.update_state({"profile": {"from_web": 1}})
        phone.update_state({"profile": {"from_phone": 2}})
    assert again(flow_world).get("profile") == {"from_web": 1, "from_phone": 2}


def test_a_turn_goes_on_at_the_member_when_the_channel_was_linked_meanwhile(session, flow_world):
    session.update_state({"profile": {"a": 1}})
    with session:
        session.update_state({"profile": {"b": 2}})
        again(flow_world).link_member("m1")
    found = again(flow_world)
    assert (found.get_member_id(), found.get("profile"), session.get_member_id()) == ("m1", {"a": 1, "b": 2}, "m1")
    session.__enter__()
    session.update_state({"profile": {"c": 3}})
    again(flow_world).clear_all_state()
    with pytest.raises(StateConflict):
        session.commit(strict=True)


def test_linking_races_end_in_one_conversation(session, flow_world):
    session.update_state({"profile": {"a": 1}})
    with session:
        session.link_member("m1")
        phone = again(flow_world, "whatsapp", "+1")
        phone.link_member("m1")
        phone.update_state({"profile": {"b": 2}})
    assert again(flow_world).get("profile") == again(flow_world, "whatsapp", "+1").get("profile") == {"a": 1, "b": 2}


# -- time to live -------------------------------------------------------------------------------------------------


def test_a_conversation_ends_with_its_ttl_and_never_early(session, flow_world):
    session.update_state({"profile": {"a": 1}, "flow_data": {"path": "p", "component": "c"}})
    flow_world.clock.advance(299)
    again(flow_world).touch()
    flow_world.clock.advance(300 - 1e-6)
    found = again(flow_world)
    assert (found.get("profile"), found.get_component()) == ({"a": 1}, "c")
    flow_world.clock.advance(1e-6)
    found = again(flow_world)
    assert (found.version, found.get("profile"), found.get_component(), found.get_channel_id()) == (0, {}, None, "ada")


@pytest.mark.parametrize("active", [("web", "ada"), ("whatsapp", "+1")])
def test_all_channels_of_a_member_and_the_member_end_at_one_moment(flow_world, active):
    for channel in (("web", "ada"), ("whatsapp", "+1")):
        again(flow_world, *channel).link_member("m1")
    for _ in range(30):  # more than two hours on one of them alone
        flow_world.clock.advance(290)
        again(flow_world, *active).touch()
    flow_world.clock.advance(300 - 1e-6)
    members = [again(flow_world, *channel).get_member_id() for channel in (("web", "ada"), ("whatsapp", "+1"))]
    assert members == ["m1", "m1"]
    flow_world.clock.advance(1e-6)
    for channel in (("web", "ada"), ("whatsapp", "+1")):
        found = again(flow_world, *channel)
        assert (found.get_member_id(), found.version, found.get_flow_state()["component"]) == (None, 0, None)
    again(flow_world).update_state({"profile": {"fresh": True}})
    assert again(flow_world).get("profile") == {"fresh": True}
    assert again(flow_world, "whatsapp", "+1").get("profile") == {}


def test_a_turn_that_outlives_its_conversation_begins_a_clean_one(session, flow_world):
    session.link_member("m1")
    session.update_state({"profile": {"old": 1}})
    with session:
        session.update_state({"dashboard": {"new": 2}})
        flow_world.clock.advance(301)
    found = again(flow_world)
    assert (found.get_member_id(), found.get("profile"), found.get("dashboard")) == (None, {}, {"new": 2})
    session.refresh()
    session.__enter__()
    session.update_state({"dashboard": {"newer": 3}})
    flow_world.clock.advance(301)
    with pytest.raises(StateConflict):
        session.commit(strict=True)


def test_the_time_to_live_is_a_setting(memory_flow_world):
    again(memory_flow_world).touch()
    record = stored(memory_flow_world, CHANNEL_KEY)
    assert record is not None
    assert record.expires_at == datetime(2026, 1, 1, 12, tzinfo=timezone.utc) + timedelta(seconds=300)


# -- in the application's transaction -----------------------------------------------------------------------------


def test_a_turn_may_be_part_of_the_applications_transaction(flow_world):
    session = again(flow_world)
    session.__enter__()
    session.authenticate("m1", "secret")
    if flow_world.kind in ("memory", "redis"):
        with pytest.raises(ConfigurationError, match="cannot join"):
            session.commit(session=flow_world.db.session)
        return
    flow_world.db.session.add(flow_world.note(text="logged in"))
    session.commit(session=flow_world.db.session)
    flow_world.db.session.rollback()
    assert again(flow_world).get_member_id() is None
    session.refresh().authenticate("m1", "secret")
    flow_world.db.session.add(flow_world.note(text="logged in"))
    session.commit(session=flow_world.db.session)
    flow_world.db.session.commit()
    assert again(flow_world).get_member_id() == "m1"
    assert flow_world.db.session.query(flow_world.note).count() == 1
    flow_world.db.session.rollback()
