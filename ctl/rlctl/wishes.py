"""Carries out a wish on many hosts: says what would happen, asks the person, sends it once, shows what was decided."""

from __future__ import annotations

import dataclasses
import sys
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from rlagent.protocol.messages import Done, Wish
from rlctl import context as ctx
from rlctl import exits, report
from rlctl.errors import HostError, NotConfirmedError, UsageError
from rlctl.fanout import Outcome
from rlctl.options import Output

if TYPE_CHECKING:
    from rlctl.fleet import Fleet

_REPLY_LOST: Final = frozenset({"timeout", "ssh", "network", "agent-timeout", "agent-broken"})
"""With these the wish may have arrived."""


@dataclasses.dataclass(frozen=True)
class Manner:
    """How a person wants a wish to be carried out."""

    yes: bool
    """Don't ask."""
    dry_run: bool
    request_id: str | None
    """Names the wish across calls of rlctl; None: a new one."""
    output: Output
    always_ask: bool = False
    """Also where only one host is hit."""


def carry_out(fleet: Fleet, action: str, wish: Wish, manner: Manner) -> int:
    """Send a wish to all hosts and show what each agent decided; returns the exit code."""
    if manner.dry_run:
        with ctx.working("asking the hosts what would happen"):
            return _show(_foresee(fleet, wish), manner)
    if not manner.yes and (manner.always_ask or len(fleet.hosts) > 1):
        confirm(fleet, action, wish)
    named = msgspec.structs.replace(wish, request_id=manner.request_id or new_id())
    with ctx.working("telling the hosts"):
        outcomes = send(fleet, named)
    return _show(outcomes, manner)


def new_id() -> str:
    """Return a name for one wish."""
    return uuid.uuid4().hex[:16]


def send(fleet: Fleet, named: Wish) -> list[Outcome[Done]]:
    """Send a named wish; where a reply was lost on the way ask again at once: by its name it is done once."""
    first = fleet.ask(named, Done)
    lost = [outcome.host for outcome in first if _lost(outcome) and outcome.error and outcome.error.kind != "timeout"]
    again = {outcome.host.name: outcome for outcome in (fleet.ask(named, Done, lost) if lost else [])}
    outcomes = [again.get(outcome.host.name, outcome) for outcome in first]
    return [_unsure(outcome, named) if _lost(outcome) else outcome for outcome in outcomes]


def _lost(outcome: Outcome[Done]) -> bool:
    return outcome.error is not None and outcome.error.kind in _REPLY_LOST


def _unsure(outcome: Outcome[Done], named: Wish) -> Outcome[Done]:
    if outcome.error is None:
        return outcome
    hint = f"it may have been done: the same command with --request-id {named.request_id} does it once"
    return dataclasses.replace(outcome, error=HostError(outcome.error.kind, outcome.error.reason, hint))


def confirm(fleet: Fleet, action: str, wish: Wish) -> None:
    """Say on stderr what would happen on each host and ask; raises `NotConfirmedError`."""
    count = len(fleet.hosts)
    if not sys.stdin.isatty():
        several = f" for {count} hosts" if count > 1 else ""
        raise UsageError(f"{action.lower()}{several} asks first, and nobody can answer here", "add --yes")
    with ctx.working("asking the hosts what would happen"):
        outcomes = _foresee(fleet, wish)
    for outcome in outcomes:
        plan = str(outcome.error) if outcome.value is None else "; ".join(_said(outcome.value))
        ctx.say(f"  {outcome.host.name}: {plan}")
    unknown = sum(outcome.error is not None and not _is_refusal(outcome.error) for outcome in outcomes)
    rest = f" ({unknown} did not answer and will be tried again)" if unknown else ""
    if not _yes(f"{action} on {count} host{'' if count == 1 else 's'}{rest}? [y/N] "):
        raise NotConfirmedError


def _is_refusal(error: HostError) -> bool:
    return error.exit_code == exits.REFUSED


def _foresee(fleet: Fleet, wish: Wish) -> list[Outcome[Done]]:
    return fleet.ask(msgspec.structs.replace(wish, dry_run=True), Done)


def _yes(question: str) -> bool:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _show(outcomes: Sequence[Outcome[Done]], manner: Manner) -> int:
    if manner.output is Output.JSON:
        sys.stdout.write(report.text(report.done(outcomes, dry_run=manner.dry_run)))
        return exits.of(outcomes)
    for outcome in outcomes:
        if outcome.value is not None:
            mark = "would: " if manner.dry_run else ""
            note = " (done at an earlier try)" if outcome.value.repeated else ""
            for decision in _said(outcome.value):
                sys.stdout.write(f"{outcome.host.name}: {mark}{decision}{note}\n")
    ctx.say_errors(outcomes)
    return exits.of(outcomes)


def _said(done: Done) -> list[str]:
    return done.decisions or ["nothing to do: it is so already"]
