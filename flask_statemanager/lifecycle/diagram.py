"""A machine as a diagram: Mermaid and Graphviz DOT text."""

from __future__ import annotations

import re

from .machine import Machine
from .types import DELETE, UPDATE


def mermaid(machine: Machine, *, deletion: bool = False) -> str:
    """Draw a machine as a Mermaid state diagram.

    :param machine: the machine.
    :param deletion: draw ``delete`` too, which leads from everywhere to ``deleted``.
    :returns: text that begins with ``stateDiagram-v2``.
    """
    lines = ["stateDiagram-v2"]
    lines += [
        f'    state "{status}" as {_identifier(status)}' for status in machine.statuses if _identifier(status) != status
    ]
    lines += [f"    [*] --> {_identifier(status)}" for status in machine.initial]
    lines += [
        f"    {_identifier(source)} --> {_identifier(target)} : {label}"
        for source, target, label in _arrows(machine, deletion)
    ]
    lines += [f"    {_identifier(status)} --> [*]" for status in machine.statuses if status in machine.final]
    return "\n".join(lines) + "\n"


def dot(machine: Machine, name: str, *, deletion: bool = False) -> str:
    """Draw a machine in Graphviz's DOT language.

    :param machine: the machine.
    :param name: the graph's name.
    :param deletion: draw ``delete`` too.
    :returns: text for ``dot -Tsvg``.
    """
    lines = [f'digraph "{name}" {{', "    rankdir=LR;", '    node [shape=box, style=rounded, fontname="sans-serif"];']
    lines.append('    "[*]" [shape=point];')
    lines += [f'    "{status}" [peripheries=2];' for status in machine.statuses if status in machine.final]
    lines += [f'    "[*]" -> "{status}";' for status in machine.initial]
    lines += [
        f'    "{source}" -> "{target}" [label="{label}"];' for source, target, label in _arrows(machine, deletion)
    ]
    return "\n".join([*lines, "}"]) + "\n"


def drawn_edges(machine: Machine, *, deletion: bool = False) -> list[tuple[str, str, str]]:
    """Return the ways that a picture has, as (source, transition, target).

    ``update`` in place says nothing, and is left out unless it was narrowed.

    :param machine: the machine.
    :param deletion: with ``delete``, which leads from everywhere to ``deleted``.
    """
    narrowed = {t.name for t in machine.transitions if t.name in (UPDATE, DELETE) and (t.guards or t.sources != "*")}
    hidden = {UPDATE} - narrowed | (set() if deletion else {DELETE})
    return [edge for edge in machine.edges() if edge[1] not in hidden]


def _arrows(machine: Machine, deletion: bool) -> list[tuple[str, str, str]]:
    return [
        (source, target, _label(machine, source, name))
        for source, name, target in drawn_edges(machine, deletion=deletion)
    ]


def _label(machine: Machine, source: str, name: str) -> str:
    edge = machine.edge(source, name)
    return f"{name} [guarded]" if edge is not None and edge.guards else name


def _identifier(status: str) -> str:
    return re.sub(r"\W", "_", status)
