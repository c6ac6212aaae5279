"""Drives the pure policy as a host would: each method feeds one or a few events. Shared by the policy's tests."""

from __future__ import annotations

from rlagent.policy import State, step
from rlagent.policy import events as ev
from rlagent.policy.model import GameRule, Mode, Rules

WALL = 1_800_000_000.0


def rules(modes=(("light", 2), ("medium", 4)), games="ABCDEFGHIJ", **changes) -> Rules:
    """The default rules with short game names."""
    return Rules(
        modes=tuple(Mode(name=name, slots=slots) for name, slots in modes),
        games=tuple(GameRule(name=name, target_frames=1000) for name in games),
        **changes,
    )


class Host:
    """A host at policy time `t`."""

    def __init__(self, rules: Rules) -> None:
        self.state = State()
        self.decisions = []
        self.log = []
        self.t = 0.0
        self.boot = 0
        self.feed(ev.Configured, rules=rules, at=0)
        self.feed(ev.AgentStarted, boot="boot-0", version="1", at=0)

    def feed(self, kind, *, at, record=True, **fields):
        self.t = max(self.t, at)
        event = kind(t=at, wall=WALL + at, **fields)
        state, decisions = step(self.state, event)
        if record:
            self.state = state
            self.decisions += decisions
            self.log.append((event, decisions, state))
        return decisions

    def up(self):
        return self.recover(at=self.t)

    def recover(self, *, at):
        """Start what waits, let every trainer take a step and commit a checkpoint."""
        self.feed(ev.Tick, at=at)
        for _ in range(3):
            for game in self.state.games:
                if game.status == "BACKOFF":
                    self.feed(ev.Tick, at=max(at, game.not_before))
            for game in self.state.games:
                if game.status in ("STARTING", "RUNNING") and not game.progressing:
                    self.progress(game.name, at=self.t)
        return self

    def climb(self):
        """Wait until promoted, and let the new mode come up."""
        wait = max(self.state.retry_at.values(), default=0.0)
        self.feed(ev.Tick, at=max(wait, self.t + self.state.rules.stable_s))
        assert self.state.transition is not None
        return self.settle_drain(at=self.t)

    def settle_drain(self, *, at, recover=True):
        for game in self.state.games:
            if game.status == "STOPPING":
                self.exit(game.name, "stopped", at=at)
        return self.recover(at=at) if recover else self

    def tick(self, at, *, record=True):
        return self.feed(ev.Tick, at=at, record=record)

    def progress(self, game, *, at):
        self.feed(ev.TrainerProgressed, at=at, game=game, attempt=self.state.game(game).attempt, global_step=1)

    def stall(self, game, *, at):
        self.feed(ev.TrainerStalled, at=at, game=game, attempt=self.state.game(game).attempt, silent_s=30.0)

    def hang(self, game, *, at):
        self.feed(ev.TrainerHung, at=at, game=game, attempt=self.state.game(game).attempt, silent_s=300.0)

    def exit(self, game, kind, *, at, detail=None):
        attempt = self.state.game(game).attempt
        self.feed(ev.TrainerExited, at=at, game=game, attempt=attempt, exit=kind, detail=detail or kind)

    def checkpoint(self, *, at, game="A"):
        self.feed(ev.CheckpointCommitted, at=at, game=game, global_step=1)

    def crash(self, game, *, at):
        self.exit(game, "signal", at=at, detail="SIGKILL")

    def restart(self, game, *, at):
        self.tick(at)
        self.progress(game, at=at)

    def crash_and_recover(self, game, *, at, checkpoint, recover_if_settled=False):
        if checkpoint:
            self.feed(ev.CheckpointCommitted, at=at, game=game, global_step=1)
        self.crash(game, at=at)
        if not (recover_if_settled and self.state.transition):
            self.recover(at=at)

    def demote_by_crashes(self, game="A"):
        """Crash four times with checkpoints between; returns the time of the demotion."""
        for _ in range(3):
            self.crash_and_recover(game, at=self.t + 10, checkpoint=True)
        self.feed(ev.CheckpointCommitted, at=self.t, game=game, global_step=1)
        self.crash(game, at=self.t + 10)
        assert self.state.transition.kind == "demote"
        return self.t

    def gpu_fault(self, *, at):
        self.feed(ev.GpuLost, at=at, gpu=0)

    def reboot(self, *, at):
        self.boot += 1
        self.feed(ev.AgentStarted, at=at, boot=f"boot-{self.boot}", version="1")

    def agent_restarts(self, *, at):
        self.feed(ev.AgentStarted, at=at, boot=f"boot-{self.boot}", version="1")

    def agent_stops(self, *, at):
        self.feed(ev.AgentStopping, at=at, reason="SIGTERM")

    def announce_reboot(self, *, at, drain=False):
        self.feed(ev.RebootAnnounced, at=at, who="ana", why="kernel", drain=drain)

    def withdraw_reboot(self, *, at):
        self.feed(ev.RebootWithdrawn, at=at, who="ana", why="")

    def scale(self, mode, *, at):
        self.feed(ev.ScaleRequested, at=at, mode=mode, who="ana", why="")

    def hold(self, mode, *, at, for_s=None, no_fallback=False):
        self.feed(ev.HoldRequested, at=at, mode=mode, for_s=for_s, no_fallback=no_fallback, who="ana", why="")

    def release(self, *, at):
        self.feed(ev.ReleaseRequested, at=at, who="ana", why="")

    def rollback(self, *, at, to=None):
        self.feed(ev.RollbackRequested, at=at, to=to, who="ana", why="heat")

    def stop(self, *, at):
        self.feed(ev.StopRequested, at=at, who="ana", why="")

    def start(self, *, at):
        self.feed(ev.StartRequested, at=at, who="ana", why="")

    def kinds(self):
        return [decision.kind for decision in self.decisions]

    def said(self, kind):
        return [decision for decision in self.decisions if decision.kind == kind]

    def running(self):
        return [game.name for game in self.state.games if game.status == "RUNNING"]

    def starting(self):
        return [game.name for game in self.state.games if game.status == "STARTING"]
