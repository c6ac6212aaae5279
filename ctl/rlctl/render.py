"""Paints styled text on a terminal: the only importer of rich. Colours only on a terminal, and never with NO_COLOR."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.console import RenderableType as Renderable
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from rlctl.styled import Grid, Line, Piece

__all__ = ["Prefixes", "Renderable", "grid", "group", "lines", "show", "spinner", "text", "watch"]

STYLES = {
    "": "",
    "strong": "bold",
    "dim": "dim",
    "good": "green",
    "busy": "cyan",
    "warn": "yellow",
    "bad": "bold red",
}
PREFIX_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_cyan", "bright_yellow", "bright_green")
WIDTH_WITHOUT_TERMINAL = 10_000
"""Columns of output into a file or a pipe, unless COLUMNS says otherwise: nothing is wrapped there."""


def console(*, stderr: bool = False) -> Console:
    """Return the console for stdout or stderr; it never guesses at markup or numbers in our text."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDTH_WITHOUT_TERMINAL
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def show(*parts: Renderable) -> None:
    """Print to stdout."""
    console().print(Group(*parts))


def group(parts: Sequence[Renderable]) -> Renderable:
    """Return parts one below the other."""
    return Group(*parts)


def text(pieces: Sequence[Piece]) -> Text:
    """Return pieces as one text."""
    return Text.assemble(*((content, STYLES[style]) for content, style in pieces))


def lines(rows: Sequence[Line], indent: int = 2, label_width: int = 6) -> Renderable:
    """Return labelled lines; long ones wrap below their own start."""
    width = max([label_width, *(cell_len(row.label) for row in rows)])
    return _Lines(rows, indent, width)


class _Lines:
    """Lines that wrap below their own start, without blanks at their end."""

    def __init__(self, rows: Sequence[Line], indent: int, label_width: int) -> None:
        self._rows = rows
        self._indent = indent
        self._label_width = label_width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        start = self._indent + self._label_width + 2
        for row in self._rows:
            label = " " * self._indent + row.label
            for part in text(row.pieces).wrap(console, max(20, options.max_width - start)):
                part.rstrip()
                yield Text.assemble((f"{label:<{start}}", STYLES["dim"]), part)
                label = ""


def grid(data: Grid, indent: int = 2) -> Renderable:
    """Return a table whose notes run below their row over all columns; a narrow terminal gets fewer columns."""
    return _Grid(data, indent)


class _Grid:
    """A table that drops its least important columns until it fits."""

    def __init__(self, data: Grid, indent: int) -> None:
        self._data = data
        self._indent = indent
        self._widths = [
            max([cell_len(column.title), *(cell_len(row[index][0]) for row in data.rows)])
            for index, column in enumerate(data.columns)
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self._fitting(options.max_width)
        yield self._row(shown, [(column.title, "dim") for column in self._data.columns])
        for index, row in enumerate(self._data.rows):
            yield self._row(shown, row)
            if index in self._data.notes:
                yield lines([Line("└", self._data.notes[index])], indent=self._indent, label_width=1)

    def _fitting(self, max_width: int) -> list[int]:
        """Return the indices of the columns that there is room for."""
        columns = self._data.columns
        shown = list(range(len(columns)))
        for index in sorted(shown, key=lambda index: -columns[index].dropped):
            if not columns[index].dropped or self._indent + sum(self._widths[i] + 2 for i in shown) - 2 <= max_width:
                break
            shown.remove(index)
        return shown

    def _row(self, shown: Sequence[int], cells: Sequence[Piece]) -> Text:
        row = Text(" " * self._indent, no_wrap=True, overflow="ellipsis")
        for index in shown:
            content, style = cells[index]
            space = " " * (self._widths[index] - cell_len(content))
            right = self._data.columns[index].right
            row.append(space if right else "")
            row.append(content, STYLES[style])
            row.append("" if right else space)
            row.append("  " if index != shown[-1] else "")
        row.rstrip()
        return row


class Prefixes:
    """Labels of mixed lines: each in a colour of its own, all as wide as the widest so far."""

    def __init__(self) -> None:
        self._console = console()
        self._seen: dict[str, str] = {}
        self._width = 0

    def paint(self, label: str) -> str:
        """Return a label to print before a line."""
        colour = self._seen.setdefault(label, PREFIX_COLOURS[len(self._seen) % len(PREFIX_COLOURS)])
        self._width = max(self._width, cell_len(label))
        padded = label + " " * (self._width - cell_len(label)) + " |"
        with self._console.capture() as capture:
            self._console.print(Text(padded, style=colour), end="", soft_wrap=True)
        return capture.get()


@contextlib.contextmanager
def spinner(message: str) -> Iterator[None]:
    """Turn a spinner on stderr while something takes time."""
    with console(stderr=True).status(message):
        yield


def watch(draw: Callable[[], Renderable], wait: Callable[[], None], footer: str) -> None:
    """Draw again and again until interrupted; on a terminal in place, the footer alive while hosts are asked."""
    out = console()
    if not out.is_terminal:
        while True:
            out.print(draw())
            sys.stdout.flush()
            wait()
    alive = Spinner("dots", text=Text(footer, style="dim"))
    with Live(alive, console=out, screen=True, refresh_per_second=8, vertical_overflow="ellipsis") as live:
        while True:
            live.update(Group(draw(), Text(), alive))
            wait()
