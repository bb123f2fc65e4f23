"""A flow as a diagram: Mermaid text."""

from __future__ import annotations

import re

from .flow import Flow
from .steps import Goto, Target


def mermaid(flow: Flow) -> str:
    """Draw a flow as a Mermaid state diagram.

    :param flow: the flow.
    :returns: text that begins with ``stateDiagram-v2``.
    """
    lines = ["stateDiagram-v2"]
    lines += [f'    state "{each.step.name} ({each.kind})" as {_identifier(each.step.name)}' for each in flow.steps]
    others = {str(target): target for _step, _result, target in flow.leads() if isinstance(target, Goto)}
    lines += [f'    state "→ {name}" as {_target(target)}' for name, target in others.items()]
    lines.append(f"    [*] --> {_identifier(flow.first)}")
    lines += [f"    {_identifier(step)} --> {_target(target)} : {label}" for step, target, label in _arrows(flow)]
    lines += [f"    {_target(target)} --> [*]" for target in others.values()]
    return "\n".join(lines) + "\n"


def _arrows(flow: Flow) -> list[tuple[str, Target, str]]:
    """Return step, target, and the results that lead there, on one arrow."""
    labels: dict[tuple[str, Target], list[str]] = {}
    for step, result, target in flow.leads():
        labels.setdefault((step, target), []).append(result)
    arrows = []
    for (step, target), results in labels.items():
        most = flow.step(step).step.max_attempts
        shown = [f"{result} ({most} attempts)" if result == "exhausted" else result for result in results]
        arrows.append((step, target, " / ".join(shown)))
    return arrows


def _target(target: Target) -> str:
    if isinstance(target, Goto):
        return _identifier(f"to_{target}")
    return _identifier(target) if isinstance(target, str) else "[*]"


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)
