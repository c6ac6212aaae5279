"""Text with meaning, not colour: what views return and `render.py` paints. Pure."""

from __future__ import annotations

import dataclasses
from typing import Literal

Style = Literal["", "strong", "dim", "good", "busy", "warn", "bad"]
Piece = tuple[str, Style]


@dataclasses.dataclass(frozen=True)
class Line:
    """A labelled line of pieces."""

    label: str
    pieces: tuple[Piece, ...]


@dataclasses.dataclass(frozen=True)
class Column:
    """A column's head; numbers stand right."""

    title: str
    right: bool = False
    dropped: int = 0
    """Where the terminal is too narrow, the column with the highest number goes first; 0: it stays."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table; a note stands below its row, over all columns."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Piece, ...], ...]
    notes: dict[int, tuple[Piece, ...]] = dataclasses.field(default_factory=dict)
    """By the index of the row they belong to."""


def plain(pieces: tuple[Piece, ...]) -> str:
    """Return the text alone."""
    return "".join(text for text, _ in pieces)


def joined(parts: list[Piece], separator: str = " · ") -> tuple[Piece, ...]:
    """Return the pieces with a dim separator between them."""
    result: list[Piece] = []
    for part in parts:
        if result:
            result.append((separator, "dim"))
        result.append(part)
    return tuple(result)
