"""The engine: what one message does to a conversation. It changes the session, and nothing else."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ..core.record import JSON, JSONObject
from ..errors import ConfigurationError, shown
from .components import EXHAUSTED, Component, InputComponent, Place, text_of
from .flow import Flow
from .recovery import HOME as AT_HOME
from .recovery import PREVIOUS, RESTART, RETRY
from .registry import HOME, RECOVER, ROLLBACK, FlowRegistry
from .responsibilities import API, DISPLAY, Guarded, Wardenship, Working, at_work
from .results import ValidationResult
from .session import FlowSession
from .steps import Goto, Known, Target

MAX_STEPS = 50
"""How many steps one message can lead through."""


class DisplayFailed(Exception):
    """A display component could not make what is to be told."""


class At(Struct, frozen=True):
    """A place in a flow.

    :param flow: the flow.
    :param known: the step.
    """

    flow: Flow
    known: Known

    @property
    def step(self) -> str:
        """The step's name."""
        return self.known.step.name


class Engine:
    """Takes one message through the flows of an application.

    :param session: the conversation; its changes are collected, not committed.
    :param registry: the flows.
    :param warden: deals with what components are not for.
    :param key: stays the same however often the message is worked on.
    """

    def __init__(self, session: FlowSession, registry: FlowRegistry, warden: Wardenship, key: str) -> None:
        self._session = session
        self._registry = registry
        self._manners = registry.manners
        self._warden = warden
        self._key = key
        self._walked = 0

    def hear(self, message: JSON) -> None:
        """Work on a message.

        :param message: what the user has sent.
        :raises ConfigurationError: when a component comes to what its flow has no branch for, or the steps never wait.
        :raises ResponsibilityBreach: when a component does what it is not for, and the application is tested or
            debugged.
        :raises Exception: whatever a component raises.
        """
        if self._mended():
            return
        act = self._registry.act_of(message)
        if act is not None:
            self._obey(act)
            return
        router = self._manners.router
        name = None if router is None else router(self._session, message)
        if name is not None:
            self._begin(self._registry.get(name), message)
            return
        at = self._at()
        if at is None:
            self._open(message)
        elif at.known.waits:
            self._deliver(at, message)
        else:  # a turn that has led here and was not ended by the engine
            self._walk(at, message)

    # -- where it is -----------------------------------------------------------------------------------------------

    def _at(self) -> At | None:
        flow = self._registry.find(self._session.get_path())
        if flow is None:
            return None
        component = self._session.get_component()
        return At(flow, flow.step(flow.first if component is None else str(component)))

    def _mended(self) -> bool:
        """Begin anew where the conversation is at a place that no flow has: another version of the application."""
        session = self._session
        path, component = session.get_path(), session.get_component()
        flow = self._registry.find(path)
        if path is None or (flow is not None and (component is None or flow.has(component))):
            return False
        session.recover(AT_HOME if flow is None else RESTART)
        self._tell(self._manners.texts.damaged)
        if flow is None:
            self._go_home(None)
        else:
            self._begin(flow, None)
        return True

    def _goes_back_to(self, place: JSONObject) -> bool:
        flow = self._registry.find(place.get("path"))
        step = place.get("component")
        return flow is not None and flow.has(step) and flow.step(str(step)).waits

    # -- words that count everywhere -------------------------------------------------------------------------------

    def _obey(self, act: str) -> None:
        texts = self._manners.texts
        if act == ROLLBACK:
            if self._session.rollback(to=self._goes_back_to):
                self._again(texts.back)
            else:
                self._again(texts.first)
        elif act == RECOVER:
            self._recover(None)
        else:
            self._recover(AT_HOME if act == HOME else RESTART)

    def _recover(self, how: str | None) -> None:
        texts = self._manners.texts
        taken = self._session.recover(how, to=self._goes_back_to)
        said = {RETRY: texts.again, PREVIOUS: texts.back, RESTART: texts.restarted, AT_HOME: texts.home}[taken]
        self._again(said)

    def _again(self, said: str) -> None:
        """Say something, and ask anew what was asked last."""
        self._tell(said)
        at = self._at()
        if at is None:
            self._go_home(None)
        elif self._session.get_component() is None:
            self._begin(at.flow, None)
        else:
            self._walk(at, None)

    # -- beginning -------------------------------------------------------------------------------------------------

    def _open(self, message: JSON) -> None:
        flow = self._registry.triggered(message)
        if flow is None:
            self._go_home(message)
        else:
            self._begin(flow, message)

    def _go_home(self, message: JSON) -> None:
        flow = self._home()
        if flow is None:
            self._tell(self._manners.texts.lost)
        else:
            self._begin(flow, message)

    def _home(self) -> Flow | None:
        manners = self._manners
        known = self._session.get_member_id() is not None
        name = (manners.home or manners.start) if known else manners.start
        return None if name is None else self._registry.get(name)

    def _begin(self, flow: Flow, message: JSON, step: str | None = None) -> None:
        self._walk(self._entered(flow, step), message)

    def _entered(self, flow: Flow, step: str | None = None) -> At:
        """Go to a flow, whose data begin empty; one that is at its very beginning has none."""
        at = At(flow, flow.step(flow.first if step is None else step))
        begins = self._session.get_path() == flow.name and self._session.get_component() is None
        if self._session.get_path() is not None and not begins:
            self._session.clear_flow_data()
        self._session.transition_flow(flow.name, at.step)
        return at

    # -- steps -----------------------------------------------------------------------------------------------------

    def _walk(self, at: At, value: JSON) -> None:
        """Go on from a step until one waits for the user, or the flows are over."""
        here: At | None = at
        while here is not None:
            self._walked += 1
            if self._walked > MAX_STEPS:
                raise ConfigurationError(
                    f"One message leads through more than {MAX_STEPS} steps, now {here.flow.name}/{here.step}: "
                    "let a step wait for the user."
                )
            component = self._component(here)
            if here.known.waits:
                self._ask(here, component)
                return
            here, value = self._worked(here, component, value)

    def _worked(self, at: At, component: Component, value: JSON) -> tuple[At | None, JSON]:
        """Let a component work that waits for nobody."""
        result = self._validated(at, component, value)
        failed = not result.valid
        if failed and at.known.kind == DISPLAY:
            raise DisplayFailed(f"{at.flow.name}/{at.step}: {result.message}")
        if at.known.kind == DISPLAY:
            self._show(result.value)
        elif failed:
            self._session.track_validation(at.step, error=str(result.message))
            self._tell(str(result.message))
        else:
            self._session.track_validation(at.step)
        found = self._session.get_component_result()
        outcome = found if found is not None else at.known.results[1 if failed else 0]
        called = at.known.kind == API and not failed
        going = self._next(at, outcome)
        if called:
            self._session.forget_previous()
        return going, result.value if result.valid else result.message

    def _deliver(self, at: At, message: JSON) -> None:
        """Give what the user has sent to the component that waits for it."""
        component = self._component(at)
        result = self._validated(at, component, message)
        if not result.valid:
            self._refused(at, component, result)
            return
        session = self._session
        session.track_validation(at.step)
        if isinstance(component, InputComponent) and not component.stored:
            with at_work(self._working(at, component)):
                component.update_state(result.value, result)
        session.note_progress()
        found = session.get_component_result()
        going = self._next(at, at.known.results[0] if found is None else found)
        if going is not None:
            self._walk(going, result.value)

    def _refused(self, at: At, component: Component, result: ValidationResult) -> None:
        session, most = self._session, at.known.step.max_attempts
        session.track_validation(at.step, error=str(result.message))
        self._tell(str(result.message))
        if most is None or session.get_attempts(at.step) < most:
            self._ask(at, component)
            return
        going = self._next(at, EXHAUSTED)
        session.track_validation(at.step)
        if going is not None:
            self._walk(going, None)

    def _ask(self, at: At, component: Component) -> None:
        with at_work(self._working(at, component)):
            asked = component.prompt()
        self._tell(asked)
        if not self._session.is_awaiting_input():
            self._session.set_component_awaiting(True)

    def _next(self, at: At, outcome: Any) -> At | None:
        """Go where a result leads; None where nothing is left to do.

        Who has logged in meanwhile may have come to a flow that is under way on another channel: that goes on.
        """
        if (self._session.get_path(), self._session.get_component()) != (at.flow.name, at.step):
            return self._at()
        if outcome not in at.known.results:
            listed = ", ".join(at.known.results)
            raise ConfigurationError(
                f"The component of {at.flow.name}/{at.step} has come to {shown(outcome)}; it can come to {listed}."
            )
        return self._gone(at, at.known.step.target(outcome))

    def _gone(self, at: At, target: Target) -> At | None:
        if isinstance(target, str):
            self._session.transition_flow(at.flow.name, target)
            return At(at.flow, at.flow.step(target))
        if isinstance(target, Goto):
            return self._entered(self._registry.get(target.flow), target.step)
        self._session.clear_flow_data()
        home = self._home()
        return None if home is None or home.name == at.flow.name else self._entered(home)

    # -- components ------------------------------------------------------------------------------------------------

    def _component(self, at: At) -> Component:
        component = at.flow.component(at.step)
        guarded = Guarded(self._session, component.kind, type(component).__name__, self._warden)
        component.bind(Place(guarded, at.step, self._idempotency_key(at)))
        return component

    def _idempotency_key(self, at: At) -> str:
        return f"{self._key}:{at.flow.name}/{at.step}:{self._walked}"

    def _working(self, at: At, component: Component) -> Working:
        return Working(component.kind, type(component).__name__, self._idempotency_key(at), self._warden)

    def _validated(self, at: At, component: Component, value: JSON) -> ValidationResult:
        with at_work(self._working(at, component)):
            result = component.validate(value)
        if not isinstance(result, ValidationResult):
            raise ConfigurationError(
                f"The component of {at.flow.name}/{at.step} returned {shown(result)}: return a ValidationResult."
            )
        return result

    # -- telling ---------------------------------------------------------------------------------------------------

    def _tell(self, text: str | None) -> None:
        if text:
            self._session.messaging.send(text)

    def _show(self, value: Any) -> None:
        if text_of(value) is not None:
            self._session.messaging.send(value)
