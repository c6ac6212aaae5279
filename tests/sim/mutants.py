"""Breaks each invariant on purpose: a production module is loaded with one place changed, and a checker must notice."""

from __future__ import annotations

import dataclasses
import importlib.abc
import importlib.machinery
import sys


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change of one module's source, and the invariant whose checker is to catch it."""

    name: str
    module: str
    old: str
    new: str
    invariant: str
    seed: int = 0
    """The first host that shows it; after a change of the code it may be one soon after."""
    span: str = "seeds"
    """`years`: a host-year of the policy alone shows it sooner."""


STABLE = "never promoted before stable"
FOURTH = "the 4th demotes, the 3rd never"
ONE_SET = "one set of trainers"
GRACEFUL = "graceful stop"
ONE_LINE = "each transition one line"
HOLD = "hold blocks promotion"
REPLAY = "replay gives the live state"
ANNOUNCED = "announced reboots never count"
LOSS = "no order, duplicate or loss"
RAISE = "no event makes it raise"

LADDER, GAMES, LIFE = "rlagent.policy.ladder", "rlagent.policy.games", "rlagent.policy.lifecycle"
STEP, DAEMON, HANDS, JOURNAL = "rlagent.policy.step", "rlagent.daemon", "rlagent.hands", "rlagent.journal"

FIRST_TRY = "try:\n            self._journal.append(stamp, event, decisions, after)"

ALL = (
    Mutant("promotes-early", LADDER, "stable < rules.stable_s", "stable < rules.stable_s * 0.9", STABLE, 12),
    Mutant("downtime-is-stable", STEP, "if not turn.state.all_progressing:", "if not turn.slotted:", STABLE),
    Mutant("crash-keeps-stable-time", LADDER, "turn.set(stable_s=0.0, progressing_since=None)\n    healthy",
           "turn.set()\n    healthy", STABLE),
    Mutant("unwatched-time-is-stable", STEP, "_pause_stable_time(turn, at=state.t)", "pass", STABLE, 138),
    Mutant("silent-journal-is-stable", STEP, "(ev.AgentStarted, ev.JournalBack))", "ev.AgentStarted)", STABLE, 730),
    Mutant("silent-journal-is-forgotten", DAEMON, "self._unwritten = True", "self._unwritten = False", STABLE, 730),
    Mutant("looks-before-it-asks-for-ends", DAEMON, "self._carry_out()\n        known = self.state",
           "known = self.state", LOSS, 5),
    Mutant("third-demotes", LADDER, "len(state.counted(turn.t)) > rules.max_crashes:\n        reason",
           "len(state.counted(turn.t)) >= rules.max_crashes:\n        reason", FOURTH),
    Mutant("fourth-stays", LADDER, "len(state.counted(turn.t)) > rules.max_crashes:\n        reason",
           "len(state.counted(turn.t)) > rules.max_crashes + 1:\n        reason", FOURTH),
    Mutant("window-too-short", "rlagent.policy.model", "oldest = t - self.rules.window_s",
           "oldest = t - self.rules.window_s * 0.8", FOURTH, 5, "years"),
    Mutant("enters-before-the-drain-is-over", LADDER, "any(game.has_process for game in state.games)",
           "False", ONE_SET),
    Mutant("one-slot-too-many", GAMES, "free = max(0, slots - len(slotted))",
           "free = max(0, slots + 1 - len(slotted))", ONE_SET),
    Mutant("drains-without-stopping", LADDER, 'stop_game(turn, game, "drain")',
           'turn.set_game(game.name, status="QUEUED")', GRACEFUL),
    Mutant("kills-at-once", HANDS, "self._supervisor.stop(wanted, self._grace_s(game))",
           "self._supervisor.kill_strangers([])", GRACEFUL),
    Mutant("enters-without-a-line", LADDER, 'turn.say("enter"', 'turn.say("alert"', ONE_LINE),
    Mutant("begins-twice", LADDER, "turn.say(kind, reason, from_mode=state.mode, to_mode=to)",
           "turn.say('enter', reason, from_mode=state.mode, to_mode=to)", ONE_LINE),
    Mutant("promotes-while-held", LADDER, "state.transition is not None or state.hold is not None",
           "state.transition is not None", HOLD, 0, "years"),
    Mutant("journals-another-state", DAEMON, FIRST_TRY,
           "try:\n            self._journal.append(stamp, event, decisions, "
           "msgspec.structs.replace(after, visit=after.visit + 1))", REPLAY, 1),
    Mutant("journals-no-decisions", DAEMON, FIRST_TRY,
           "try:\n            self._journal.append(stamp, event, (), after)", ONE_LINE),
    Mutant("state-lags-on-disk", JOURNAL, "(seq, _text(state))", "(seq, _text(self._state))", REPLAY),
    Mutant("announced-reboot-counts", LIFE, "if not announced and not clean:", "if not clean:", ANNOUNCED, 13),
    Mutant("every-reboot-is-forgiven", LIFE, "if not announced and not clean:", "if False:", LOSS),
    Mutant("a-crash-is-not-counted", STEP, "_crash(turn, symptom, before)", "pass", LOSS),
    Mutant("exits-get-lost", HANDS, "return [\n            ev.TrainerExited(",
           "return [] and [\n            ev.TrainerExited(", LOSS),
    Mutant("old-attempts-count", GAMES, "game.has_process and game.attempt == attempt", "game", LOSS, 7),
    Mutant("raises", LADDER, "held = turn.t - state.mode_entered",
           "held = turn.t - state.mode_entered\n    state.retry_at and 1 / 0", RAISE),
)  # fmt: skip
BY_NAME = {mutant.name: mutant for mutant in ALL}


class _Loader(importlib.machinery.SourceFileLoader):
    """Reads a module's source with the change."""

    mutant: Mutant

    def get_code(self, fullname):
        source = self.get_source(fullname)
        assert source.count(self.mutant.old) == 1, (
            f"{self.mutant.name}: its place is there {source.count(self.mutant.old)} times"
        )
        return compile(source.replace(self.mutant.old, self.mutant.new), self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, fullname, path, target=None):
        if fullname != self.mutant.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        loader = _Loader(fullname, spec.origin)
        loader.mutant = self.mutant
        spec.loader = loader
        return spec


def install(name: str) -> None:
    """Break it; nothing of the agent may be loaded yet."""
    assert not any(module.startswith("rlagent.") for module in sys.modules)
    sys.meta_path.insert(0, _Finder(BY_NAME[name]))
