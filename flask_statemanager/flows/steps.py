"""Steps of a flow: which component works there, and where each of its results leads."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from ..core.names import check_word
from ..errors import ConfigurationError, StateValidationError, shown
from .components import EXHAUSTED, Component


class End(Struct, frozen=True):
    """Where a flow is over; the conversation goes back to the home flow, where there is one."""

    def __str__(self) -> str:
        return "the end"


END = End()
"""The one end."""


class Goto(Struct, frozen=True):
    """Leads into another flow, whose data begins empty.

    :param flow: its name.
    :param step: a step of it; the first one by default.
    """

    flow: str
    step: str | None = None

    def __str__(self) -> str:
        return self.flow if self.step is None else f"{self.flow}/{self.step}"


Target = str | Goto | End
"""A step of the same flow by its name, another flow, or the end."""


class Step(Struct, frozen=True):
    """One step of a flow.

    :param name: its name, a word.
    :param component: the class of its component, or what makes one.
    :param then: where every result leads that has no branch of its own.
    :param branches: where results lead.
    :param max_attempts: how often the user may be wrong; the branch ``exhausted`` is taken then.
    """

    name: str
    component: Callable[[], Component]
    then: Target | None = None
    branches: Mapping[str, Target] = field(default_factory=dict)
    max_attempts: int | None = None

    def target(self, result: str) -> Target:
        """Return where a result leads.

        :param result: one of the component's.
        :raises ConfigurationError: when no branch is declared for it.
        """
        found = self.branches.get(result, None if result == EXHAUSTED else self.then)
        if found is None:
            raise ConfigurationError(
                f"The step {self.name!r} has no branch for the result {shown(result)}: declare it in the flow."
            )
        return found


class Known(Struct, frozen=True):
    """A step that was checked by itself.

    :param step: the step.
    :param kind: the kind of its component.
    :param waits: whether that waits for the user.
    :param results: what it can come to, the exhaustion among it.
    """

    step: Step
    kind: str
    waits: bool
    results: tuple[str, ...]

    def edges(self) -> list[tuple[str, Target]]:
        """Return each result and where it leads, in the order of the results."""
        return [(result, self.step.target(result)) for result in self.results]


def known(step: object, problems: list[str]) -> Known | None:
    """Check a step by itself, without its flow.

    :param step: what the application declared.
    :param problems: takes what is wrong with it.
    :returns: the step, or None where it is unusable.
    """
    if not isinstance(step, Step):
        problems.append(f"{shown(step)} is no Step")
        return None
    try:
        check_word(step.name, "step")
        component: object = step.component()
    except StateValidationError as error:
        problems.append(str(error))
        return None
    except TypeError as error:
        problems.append(f"the component of {step.name!r} cannot be made: {error}")
        return None
    if not isinstance(component, Component):
        problems.append(f"the component of {step.name!r} is {shown(component)}, which is no Component")
        return None
    results = (*component.results, EXHAUSTED) if step.max_attempts is not None else tuple(component.results)
    found = Known(step, component.kind, component.waits, results)
    problems += _problems(found)
    return found


def _problems(found: Known) -> list[str]:
    named = f"the step {found.step.name!r}"
    return [*_about_branches(found, named), *_about_attempts(found, named)]


def _about_branches(found: Known, named: str) -> list[str]:
    step = found.step
    problems = [
        f"{named} has no branch for the result {result!r}"
        for result in found.results
        if result not in step.branches and (step.then is None or result == EXHAUSTED)
    ]
    problems += [
        f"{named} has a branch for {result!r}, which its component never comes to"
        for result in step.branches
        if result not in found.results
    ]
    if step.then is not None and all(result in step.branches for result in found.results):
        problems.append(f"{named} has a branch for every result, so that 'then' is never taken")
    targets: list[object] = [*step.branches.values(), step.then]
    problems += [
        f"{named} leads to {shown(target)}, which is no step, Goto or END"
        for target in targets
        if target is not None and not isinstance(target, str | Goto | End)
    ]
    return problems


def _about_attempts(found: Known, named: str) -> list[str]:
    most = found.step.max_attempts
    if most is None:
        return []
    if type(most) is not int or most < 1:
        return [f"max_attempts={shown(most)} of {named} must be a number from 1 on"]
    return [] if found.waits else [f"{named} waits for nobody, so max_attempts counts nothing"]


def check_step(found: Known | None, flow: str, step: str) -> Known:
    """Return a step that must be there.

    :param found: what was found under its name.
    :param flow: the flow's name.
    :param step: the step's name.
    :raises ConfigurationError: when nothing was found.
    """
    if found is None:
        raise ConfigurationError(f"The flow {flow!r} has no step {shown(step)}.")
    return found
