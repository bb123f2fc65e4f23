"""Flows: paths through steps, checked when they are defined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..core.names import check_word
from ..errors import ConfigurationError, StateValidationError, shown
from .components import Component
from .steps import Goto, Known, Step, Target, check_step, known


class Flow:
    """Steps, the first of them the beginning, and where each result leads.

    >>> # Flow("offer", [
    >>> #     Step("amount", AmountInput, then="confirm", max_attempts=3, branches={"exhausted": END}),
    >>> #     Step("confirm", ConfirmOffer, branches={"confirmed": "send", "declined": END}),
    >>> #     Step("send", SendOffer, branches={"success": END, "failure": END}),
    >>> # ])

    :param name: its name, a word; the conversation's *path* (or *context*) while it is in this flow.
    :param steps: the steps.
    :param triggers: what a user may write to begin it where nothing is under way, in any case.
    :param title: how to call it before users; the name by default.
    :raises ConfigurationError: when a step cannot be reached, a result has no branch, a target does not exist, steps
        follow one another in a circle in which nobody waits for the user, or anything else is unusable; all of it is
        named.
    """

    def __init__(
        self, name: str, steps: Iterable[Step], *, triggers: Iterable[str] = (), title: str | None = None
    ) -> None:
        try:
            self.name = check_word(name, "flow")
        except StateValidationError as error:
            raise ConfigurationError(f"The flow cannot be defined: {error}") from error
        self.triggers = _words(triggers, name)
        self.title = title or name.replace("_", " ")
        self._steps: dict[str, Known] = {}
        problems = self._taken(steps) + self._unknown()
        problems = problems or [*self._unreachable(), *self._circles()]
        if problems:
            raise ConfigurationError(f"The flow {name!r} cannot be defined: {'; '.join(problems)}.")

    def _taken(self, steps: object) -> list[str]:
        """Take the steps, and tell what is wrong with each by itself."""
        if not isinstance(steps, Iterable):
            return [f"its steps are {shown(steps)}, not a list"]
        problems: list[str] = []
        found = [each for each in (known(step, problems) for step in steps) if each is not None]
        self._steps = {each.step.name: each for each in found}
        if not found and not problems:
            problems.append("it has no steps")
        if len(self._steps) < len(found):
            problems.append("two steps have one name")
        return problems

    @property
    def first(self) -> str:
        """The name of the step that it begins with."""
        return next(iter(self._steps))

    @property
    def steps(self) -> tuple[Known, ...]:
        """The steps, as they were declared and checked."""
        return tuple(self._steps.values())

    def step(self, name: str) -> Known:
        """Return a step.

        :param name: its name.
        :raises ConfigurationError: when there is none of that name.
        """
        return check_step(self._steps.get(name), self.name, name)

    def has(self, name: object) -> bool:
        """Tell whether there is a step of this name.

        :param name: the name.
        """
        return name in self._steps

    def component(self, name: str) -> Component:
        """Make the component of a step.

        :param name: the step's name.
        :raises ConfigurationError: when there is none of that name.
        """
        return self.step(name).step.component()

    def leads(self) -> Iterator[tuple[str, str, Target]]:
        """Yield step, result and target of every branch."""
        for name, each in self._steps.items():
            for result, target in each.edges():
                yield name, result, target

    # -- what is looked at when it is defined ----------------------------------------------------------------------

    def _targets(self, each: Known) -> list[Target]:
        return [target for target in (*each.step.branches.values(), each.step.then) if target is not None]

    def _unknown(self) -> list[str]:
        missing = {
            target: name
            for name, each in self._steps.items()
            for target in self._targets(each)
            if isinstance(target, str) and target not in self._steps
        }
        missing |= {
            str(target): name
            for name, each in self._steps.items()
            for target in self._targets(each)
            if isinstance(target, Goto) and target.flow == self.name and target.step not in (None, *self._steps)
        }
        return [f"the step {name!r} leads to {shown(target)}, which does not exist" for target, name in missing.items()]

    def _following(self, name: str) -> list[str]:
        return [target for target in self._targets(self._steps[name]) if isinstance(target, str)]

    def _unreachable(self) -> list[str]:
        reached, ahead = set[str](), [self.first]
        while ahead:
            name = ahead.pop()
            if name not in reached:
                reached.add(name)
                ahead += self._following(name)
        return [f"the step {name!r} cannot be reached" for name in self._steps if name not in reached]

    def _circles(self) -> list[str]:
        """Find a circle of steps that wait for nobody: a turn that gets into it would never end."""
        silent = {name for name, each in self._steps.items() if not each.waits}
        ways = {name: [target for target in self._following(name) if target in silent] for name in silent}
        while ways:
            loose = {name for name, targets in ways.items() if not targets}
            if not loose:
                listed = ", ".join(sorted(ways))
                return [f"nobody waits for the user in a circle among the steps {listed}"]
            ways = {
                name: [target for target in targets if target not in loose]
                for name, targets in ways.items()
                if name not in loose
            }
        return []


def _words(triggers: object, flow: str) -> frozenset[str]:
    found = list(triggers) if isinstance(triggers, Iterable) and not isinstance(triggers, str) else [None]
    words = frozenset(word.strip().casefold() for word in found if isinstance(word, str) and word.strip())
    if not all(isinstance(word, str) and word.strip() for word in found):
        raise ConfigurationError(f"The triggers of the flow {flow!r} are {shown(triggers)}: pass a list of words.")
    return words


def check_goto(flows: Iterable[Flow]) -> list[str]:
    """Look at what leads from one flow into another.

    :param flows: all flows of an application.
    :returns: what is wrong: one sentence for each target that does not exist.
    """
    by_name = {flow.name: flow for flow in flows}
    problems = []
    for flow in by_name.values():
        for step, _result, target in flow.leads():
            if isinstance(target, Goto):
                other = by_name.get(target.flow)
                if other is None or (target.step is not None and not other.has(target.step)):
                    problems.append(f"The step {flow.name}/{step} leads to {target}, which does not exist.")
    return list(dict.fromkeys(problems))
