"""A simulation's answer as a table and as curves. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rlagent.simulation.scenario import Row
from rlctl import show
from rlctl.styled import Column, Grid, Line, Piece

BLOCKS = " ▁▂▃▄▅▆▇█"
_COLUMNS = (
    Column("POLICY"),
    Column("STEPS/S", right=True),
    Column("OF BEST", right=True),
    Column("CRASHES/WEEK", right=True),
    Column("SWITCHES/WEEK", right=True),
)


def table(rows: Sequence[Row]) -> Grid:
    """Return a row for each single mode and policy, and one for what could have been had."""
    return Grid(_COLUMNS, tuple(_row(row) for row in rows))


def curves(rows: Sequence[Row], days: float) -> list[Line]:
    """Return for each policy its goodput over time, the mode it was in, and why it moved at first."""
    lines: list[Line] = []
    for row in rows:
        if not row.curve:
            continue
        lines.append(Line(row.policy, ((f"goodput and mode over {show.age(days * 86400)}, first run", "dim"),)))
        lines.append(Line("", (("".join(_block(value) for value in row.curve), "good"),)))
        lines.append(Line("", (("".join(mode[:1] for mode in row.modes), "busy"),)))
        lines += [Line("", (("→ ", "busy"), (reason, ""))) for reason in row.why]
    return lines


def _row(row: Row) -> tuple[Piece, ...]:
    ideal = row.policy == "best schedule"
    return (
        (row.policy, "strong" if row.curve else "dim"),
        (show.count(row.goodput_steps_per_s), ""),
        (show.share(row.share_of_best), "good" if row.share_of_best >= 0.95 else "warn"),
        (show.NA if ideal else show.count(row.crashes_per_week), ""),
        (show.NA if ideal else f"{row.switches_per_week:.1f}", ""),
    )


def _block(share: float) -> str:
    return BLOCKS[round(min(max(share, 0.0), 1.0) * (len(BLOCKS) - 1))]
