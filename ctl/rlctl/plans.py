"""What a command that asks first would do to a host, in a sentence. Pure; the agent decides in the end."""

from __future__ import annotations

import difflib

from rlagent.protocol.status import AgentStatus


def rollback(status: AgentStatus, to: str | None) -> str:
    """Say what a rollback would do."""
    ladder, mode = status.ladder, status.mode
    if to is not None and to not in ladder:
        near = difflib.get_close_matches(to, ladder, n=1)
        return f"no mode '{to}' ({f'did you mean {near[0]}?' if near else 'known: ' + ', '.join(ladder)})"
    index = ladder.index(mode) if mode in ladder else 0
    if index == 0:
        return f"already in the lowest mode, {mode}: will be refused"
    target = to or ladder[index - 1]
    if ladder.index(target) >= index:
        return f"{target} is not below {mode}: will be refused"
    return (
        f"{mode} -> {target}, counted as a failed try of {mode}; {_trainers(status)} restart or wait as {target} needs"
    )


def stop(status: AgentStatus) -> str:
    """Say what a stop would do."""
    if status.stopped:
        return "already stopped"
    return f"{_trainers(status)} stop, and stay stopped across reboots until `rlctl start`"


def _trainers(status: AgentStatus) -> str:
    names = [trainer.game for trainer in status.trainers if trainer.pid is not None]
    return f"{', '.join(names)} checkpoint and" if names else "no trainer runs; those that would start"
