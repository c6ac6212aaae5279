"""What must hold on every host: the invariants of the policy page, by bookkeeping that knows nothing of the policy's.

`Fold` reads the journal line by line as it is written, `Truth` compares it with what really happened to the host, and
`replay` folds it once more. Each raises `Violation` with the name of the invariant.
"""

from __future__ import annotations

import bisect

import msgspec

from rlagent.policy import State, step
from rlagent.policy import events as ev

EDGE_S = 1e-6
BEGINS = ("promote", "demote", "rollback", "hold", "reconfigure")


class Violation(BaseException):  # what it is
    """An invariant is broken: its name, and how. No `except Exception` of the agent's may take it for a bug."""

    def __init__(self, invariant: str, how: str) -> None:
        self.invariant, self.how = invariant, how
        super().__init__(f"{invariant}: {how}")


def demand(holds: bool, invariant: str, how: str) -> None:  # noqa: FBT001  # reads as a sentence
    if not holds:
        raise Violation(invariant, how)


class Fold:
    """The story that the journal tells so far. Host truth, where there is a host, is asked for at the same moment."""

    def __init__(self, rules) -> None:
        self.rules = rules
        self.rungs = [mode.name for mode in rules.modes]
        self.mode, self.going = self.rungs[0], None
        self.times: list[float] = []
        """Of the incidents of this stay."""
        self.open = False
        self.boot = None
        self.hold: tuple[float | None, bool] | None = None
        """Its end, and whether it excludes demotions."""
        self.stopped = self.stopped_until_restart = False
        self.entered = 0.0
        self.t = 0.0
        self.lines = 0
        self.crashes_seen: dict[tuple[str, int], tuple[bool, bool]] = {}
        """Exits by attempt: whether an incident was open before, and whether one was opened."""
        self.reboots_seen: list[tuple[bool, bool]] = []
        """The same for each reboot."""

    def see(self, event, decisions, before, after, host=None) -> None:
        """Judge one journal line."""
        self.lines += 1
        t = max(self.t, event.t)
        demand(after.t == t, "no event makes it raise or go back", f"t {after.t} after an event at {event.t}")
        if self.hold and self.hold[0] is not None and t >= self.hold[0]:
            self.hold = None
        self._operator(event, decisions, t)
        was_open, count = self.open, 0
        for decision in decisions:
            kind = decision.kind
            if kind == "incident":
                count += 1
                self._incident(event, t, host)
            elif kind == "recovered":
                self.open = False
            elif kind == "enter":
                self._enter(decision, t)
            elif kind in BEGINS and decision.from_mode is not None:
                self._begin(decision, event, t, before, host)
        demand(count <= 1, "each transition one line", f"{count} incidents in one line")
        self._remember(event, was_open, count)
        self.t = t
        demand(after.mode == self.mode, "each transition one line", f"in {after.mode} without a line that says so")
        heading = None if after.transition is None else after.transition.to
        demand(heading == self.going, "each transition one line", f"on the way to {heading}, said {self.going}")
        self._due(decisions, t)

    def _operator(self, event, decisions, t) -> None:
        refused = any(decision.kind == "refuse" for decision in decisions)
        if isinstance(event, ev.HoldRequested) and not refused:
            until = None if event.for_s is None else t + max(0.0, event.for_s)
            self.hold = None if until is not None and until <= t else (until, event.no_fallback)
        elif isinstance(event, ev.ReleaseRequested):
            self.hold = None
        elif isinstance(event, ev.StopRequested):
            lasts = not event.until_restart or (self.stopped and not self.stopped_until_restart)
            self.stopped, self.stopped_until_restart = True, not lasts
        elif isinstance(event, ev.StartRequested) or (
            isinstance(event, ev.AgentStarted) and self.stopped_until_restart
        ):
            self.stopped = self.stopped_until_restart = False

    def _incident(self, event, t, host) -> None:
        self.times.append(t)
        self.open = True
        crash = isinstance(event, ev.TrainerExited | ev.TrainerHung | ev.GpuLost | ev.AgentStarted)
        demand(crash, "no order, duplicate or loss", f"an incident by {type(event).__name__}")
        if isinstance(event, ev.TrainerExited):
            seen = (event.game, event.attempt) in self.crashes_seen
            demand(not seen, "no order, duplicate or loss", f"{event.game} {event.attempt} counted twice")

    def _enter(self, decision, t) -> None:
        demand(self.going == decision.to_mode, "each transition one line", f"enter {decision.to_mode}, not begun")
        self.mode, self.going, self.entered = decision.to_mode, None, t
        self.times, self.open = [], False

    def _begin(self, decision, event, t, before, host) -> None:
        kind, rung = decision.kind, self.rungs.index(self.mode)
        demand(decision.from_mode == self.mode, "each transition one line", f"from {decision.from_mode}")
        if kind == "promote":
            demand(self.hold is None, "hold blocks promotion", f"promoted at {t:.1f} while held")
            demand(not self.stopped, "hold blocks promotion", f"promoted at {t:.1f} while stopped")
            demand(decision.to_mode == self.rungs[rung + 1], "each transition one line", "more than one rung")
            least = max([self.entered, *self.times]) + self.rules.stable_s - EDGE_S
            demand(t >= least, "never promoted before stable", f"at {t:.1f}, not before {least:.1f}")
            if host is not None:
                good = host.good_s
                demand(
                    good >= self.rules.stable_s - EDGE_S,
                    "never promoted before stable",
                    f"only {good:.1f} s of true progress",
                )
        elif kind == "demote":
            demand(decision.to_mode == self.rungs[rung - 1], "each transition one line", "not one rung")
            demand(not (self.hold and self.hold[1]), "hold blocks promotion", "demoted though held without fallback")
            if " in a row " not in decision.reason and "no game can run" not in decision.reason:
                demand(self.counted(t) > self.rules.max_crashes, "the 4th demotes, the 3rd never", decision.reason)
        self.going = decision.to_mode

    def _remember(self, event, was_open, count) -> None:
        if isinstance(event, ev.TrainerExited):
            self.crashes_seen.setdefault((event.game, event.attempt), (was_open, count > 0))
        elif isinstance(event, ev.AgentStarted):
            if self.boot not in (None, event.boot):
                self.reboots_seen.append((was_open, count > 0))
            self.boot = event.boot

    def counted(self, t: float) -> int:
        """Return how many incidents of this stay are younger than the window, of all until `t`."""
        return len(self.times) - bisect.bisect_right(self.times, t - self.rules.window_s)

    def _due(self, decisions, t) -> None:
        """The fourth demotes at once."""
        free = (
            self.going is None and not self.stopped and not (self.hold and self.hold[1]) and self.mode != self.rungs[0]
        )
        counted = self.counted(t) if free else 0
        demand(
            counted <= self.rules.max_crashes,
            "the 4th demotes, the 3rd never",
            f"{counted} incidents in {self.mode} at {t:.1f} and no demotion",
        )


def truth(host, fold) -> None:
    """Compare the journal with what really happened, once everything has calmed down."""
    for trainer in host.history:
        if trainer.ended is None:
            continue
        seen = fold.crashes_seen.get((trainer.game, trainer.attempt))
        rebooted = any(at >= trainer.born and at >= trainer.ended - EDGE_S for at, _ in host.reboots)
        name = f"{trainer.game} {trainer.attempt}"
        demand(seen is not None or rebooted, "no order, duplicate or loss", f"the end of {name} is in no line")
        if trainer.crash_shows and seen is not None and trainer.dies < trainer.silent:
            was_open, opened = seen
            demand(was_open or opened, "no order, duplicate or loss", f"the crash of {name} was not counted")
    demand(
        len(fold.reboots_seen) <= len(host.reboots), "announced reboots never count", "more reboots told than happened"
    )
    if len(fold.reboots_seen) == len(host.reboots):
        for (at, announced), (was_open, opened) in zip(host.reboots, fold.reboots_seen, strict=True):
            demand(not (announced and opened), "announced reboots never count", f"the one at {at:.0f} counted")
            demand(announced or was_open or opened, "no order, duplicate or loss", f"the reboot at {at:.0f} is lost")


def replay(entries, state) -> None:
    """Fold the journal again, through JSON as it lies on disk."""
    folded = State()
    for entry in entries:
        folded, decisions = step(folded, entry.event)
        demand(decisions == entry.decisions, "replay gives the live state", f"line {entry.seq} decides otherwise")
    demand(folded == state, "replay gives the live state", "another state at the end")


def duplicate(state, event) -> None:
    """Hear of something twice: it must neither raise nor count again."""
    again, decisions = step(state, event)
    demand(
        isinstance(event, ev.GpuLost) or not any(decision.kind == "incident" for decision in decisions),
        "no order, duplicate or loss",
        f"a duplicate of {type(event).__name__} counts",
    )
    msgspec.json.encode(again)
