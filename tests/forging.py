"""Texts that are signed, changed in their signature."""

from __future__ import annotations

PLACE = -6
"""Which character is changed. Of the last one of Base64, some bits do not count."""


def tampered(signed: str) -> str:
    """Return a signed text that differs in one character of its signature, whatever that is."""
    other = "A" if signed[PLACE] != "A" else "B"
    return f"{signed[:PLACE]}{other}{signed[PLACE + 1 :]}"
