"""What the package offers to other people's tests: the clock, the recorder, the fixtures."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from importlib.metadata import entry_points

import pytest

from flask_statemanager import StateManager, StateValidationError, signals
from flask_statemanager.testing import FakeClock, captured
from flask_statemanager.testing.clock import START


def test_a_fake_clock_stands_still_until_it_is_moved() -> None:
    clock = FakeClock()
    assert clock.now() == clock.now() == START
    assert clock.advance(1.5) == clock.now() == START + timedelta(seconds=1.5)
    assert clock.advance(-2) == START - timedelta(seconds=0.5)


def test_a_fake_clock_is_set_to_a_moment_in_any_zone_and_tells_utc() -> None:
    moment = datetime(2026, 6, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    for clock in (FakeClock(moment), FakeClock()):
        assert clock.set(moment) == clock.now() == moment
        assert clock.now().utcoffset() == timedelta(0)


def test_a_fake_clock_refuses_a_moment_without_a_zone() -> None:
    naive = datetime(2026, 6, 1, 12)  # noqa: DTZ001 - that is the point
    with pytest.raises(StateValidationError):
        FakeClock(naive)
    with pytest.raises(StateValidationError):
        FakeClock().set(naive)


@pytest.mark.parametrize(("moment", "hours"), [((1, 1, 1, 6), 14), ((9999, 12, 31, 18), -12)])
def test_a_moment_that_utc_cannot_express_is_refused(moment: tuple[int, int, int, int], hours: int) -> None:
    with pytest.raises(StateValidationError):
        FakeClock().set(datetime(*moment, tzinfo=timezone(timedelta(hours=hours))))


@pytest.mark.filterwarnings("ignore:Flask-StateManager works in memory")
def test_captured_records_signals_and_changes_within_its_block(state_manager_reset: None) -> None:
    manager = StateManager()
    manager.register_state("before", "user")
    with captured() as told:
        manager.register_state("a", "user")
        manager.update_state("a", transition="activate")
        with pytest.raises(ValueError, match="transition"):
            manager.update_state("a", transition="no_such")
    manager.register_state("after", "user")
    assert told.names == ["state-registered", "state-changed", "state-changed", "state-transitioned"]
    assert [(change.key.name, change.event) for change in told.changes] == [("a", "create"), ("a", "activate")]
    assert told.sent[0].sender is None
    assert told.sent[0].payload["change"] == told.changes[0]


@pytest.mark.filterwarnings("ignore:Flask-StateManager works in memory")
def test_captured_records_only_the_signals_asked_for(state_manager_reset: None) -> None:
    manager = StateManager()
    with captured(signals.state_changing, signals.transition_signal("create")) as told:
        manager.register_state("a", "user")
    assert told.names == ["state-changing", "transition:create"]
    assert told.changes == []


def test_the_plugin_is_registered_with_pytest() -> None:
    (found,) = entry_points(group="pytest11", name="flask_statemanager")
    assert found.value == "flask_statemanager.testing.plugin"


USER_TEST = """
    import pytest
    from flask_statemanager import StateManager

    pytestmark = pytest.mark.filterwarnings("ignore:Flask-StateManager works in memory")
    seen = []

    @pytest.mark.parametrize("number", [1, 2])
    def test_application(number, fake_clock, state_manager_reset, captured_states):
        manager = StateManager()
        assert manager not in seen
        seen.append(manager)
        manager.use_clock(fake_clock)
        manager.register_state("a", "user", ttl=60)
        fake_clock.advance(60)
        assert manager.get_state("a").status == "expired"
        assert captured_states.names == ["state-registered", "state-changed"]
"""


def test_an_applications_tests_use_the_fixtures(pytester: pytest.Pytester, state_manager_reset: None) -> None:
    pytester.makepyfile(USER_TEST)
    pytester.runpytest_inprocess("-p", "no:dash").assert_outcomes(passed=2)
