"""What the policy decided, as values with a reason; the daemon carries them out and the journal keeps them."""

from __future__ import annotations

from typing import Literal

import msgspec

DecisionKind = Literal[
    "incident",  # a crash was counted
    "recovered",  # trainers make progress again: the incident is over
    "promote",
    "demote",
    "rollback",
    "hold",
    "scale",  # an operator's mode change, without a hold
    "release",
    "reconfigure",  # the mode's settings changed: restart its trainers
    "enter",  # the drain is over, the new mode begins
    "forget",  # a mode has held long enough: its failed tries are forgotten
    "start",  # a trainer
    "stop",  # a trainer
    "backoff",  # a trainer waits before its restart
    "fatal",  # a game is given up
    "done",  # a game reached its target
    "stopped",  # all trainers, by an operator
    "started",  # again, by an operator
    "announce",  # a reboot
    "withdraw",  # the announcement of a reboot
    "refuse",  # an operator's wish
    "guard",  # what the guard saw, and what it does or would do about it
    "shadow",  # what the policy that does not rule would do
    "alert",  # a person should look
]

MODE_CHANGES = ("promote", "demote", "rollback", "hold", "scale", "reconfigure")
"""Kinds that begin a mode change."""


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One decision: what, and why in a sentence with its numbers."""

    kind: DecisionKind
    reason: str
    game: str | None = None
    attempt: int | None = None
    from_mode: str | None = None
    to_mode: str | None = None
