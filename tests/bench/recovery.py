"""What a fault costs: real trainers killed under the agent, under systemd's `Restart=` and under supervisord.

    python tests/bench/recovery.py [--quick] [--json]

Two parts.

1. Measured, on the clock, with nothing scaled: the same trainer (rltrain, one game, 32 environments, batch 512, all
   cores) is killed with SIGKILL again and again, each time after a random while of training. The keepers take turns,
   each time in another order, with four kills a turn; meanwhile the others' trainers are stopped. The whiles are the
   same for each keeper, and there is no backoff. `respawn` is from the kill to the new process, `restart` to
   the first new step that the progress file shows, `detection` to the agent's journal entry (the others write none).
   The trainer takes checkpoints at its own interval, which is measured too; by Young's formula, which it goes by, it
   tells what one costs. Then one SIGSTOP: the agent, with a hang timeout of 15 s instead of 300 s, must restart the
   trainer; the others are watched for twice that time.
2. Composed from that, which is how the hours are scaled: faults at random instants (a Poisson process, the same ones
   for each keeper) at 1, 3 and 12 an hour over 2,000 hours. Each fault costs a restart drawn from those measured, in
   turn, and the work since the last checkpoint; with the agent also the waiting time that the real policy decides on
   (`rlagent.policy`, fed with these events). ETTR is the share of time that is left, checkpoints deducted; beside it
   the bound 1 - f (c/2 + d + r)/3600 - C/c with the same means. Kills only: a hang under systemd or supervisord would
   last for ever.

systemd runs in a host of the lab (systemd-nspawn, needs root) and supervisord is installed into .cache for this; where
one can't be, its row says why. --quick: 4 kills each instead of 20, after 1 to 5 s instead of 1 to 10: about 5
minutes, as real trainers start 24 times, and each hang has to be waited for. With --json the last line is one object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from contenders import ettr, keepers
from contenders.keepers import Keeper
from policy_driver import Host, rules
from rltrainer.checkpointer import FAILURES_EVERY_S, INTERVAL_MIN_S

KILLS = 4
"""Of a keeper in one turn."""
RATES = (1.0, 3.0, 12.0)
HOURS = 2000.0
HANG_TIMEOUT_S = 15.0
INTERVAL_SEEN_S = 20.0
"""About what the trainer's interval comes to on this kind of machine."""
LOOK_S = 0.005
WAIT_S = 120.0
GOAL_RESTART_S, GOAL_POINTS = 10.0, 1.0


@dataclass
class Measured:
    """What the faults of one keeper took, in seconds."""

    restart: list[float] = field(default_factory=list)
    respawn: list[float] = field(default_factory=list)
    detection: list[float] = field(default_factory=list)
    lost_s: list[float] = field(default_factory=list)
    lost_steps: list[int] = field(default_factory=list)
    hang: float | None = None
    """From SIGSTOP to the next new step; None: not within twice the timeout."""


class Watched:
    """A keeper's trainer, seen from outside."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.file = keeper.run_dir / "progress.json"
        self.found = Measured()
        self.saved: list[float] = []
        """When each checkpoint was taken that has been seen."""
        self.interval_s = 0.0
        """Between two checkpoints of a trainer that has trained for a while."""

    def report(self) -> tuple[dict, float] | None:
        """Return the newest report and when it was written."""
        try:
            return json.loads(self.file.read_text()), self.file.stat().st_mtime
        except (OSError, ValueError):
            return None

    def learn(self, since: float) -> dict:
        """Wait for the first new step that is reported after `since`; returns the report, with its time as `at`."""
        first = None
        for report, at in self._reports(since):
            if first is not None and report["phase"] == "training" and report["global_step"] > first["global_step"]:
                return report | {"at": at, "resumed": first["global_step"]}
            first = first or report
        raise AssertionError(f"{self.keeper.name}: no new step within {WAIT_S:g} s: {self.report()}")

    def train(self, seconds: float) -> dict:
        """Let it train, remembering its checkpoints, and return the last report, with its time."""
        deadline, last = time.time() + seconds, None
        while last is None or not last.get("checkpoint") or time.time() < deadline:
            seen = self.report()
            if seen is not None:
                last = seen[0] | {"at": seen[1]}
                saved = last.get("checkpoint")
                if saved and saved["saved_at"] not in self.saved:
                    self.saved.append(saved["saved_at"])
            time.sleep(0.05)
        return last

    def _reports(self, since: float):
        deadline = time.time() + WAIT_S
        while time.time() < deadline:
            seen = self.report()
            if seen is not None and seen[1] > since:
                yield seen
            time.sleep(LOOK_S)


def main() -> int:
    """Measure, compose, print, and exit with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="detection, restart, lost work and useful time under faults")
    parser.add_argument("--quick", action="store_true", help="one turn of 4 kills for each keeper instead of five")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    turns, while_max_s = (1, 5.0) if arguments.quick else (5, 10.0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing may be left running
    with tempfile.TemporaryDirectory() as folder:
        able, absent = keepers.available(Path(folder), hang_timeout_s=HANG_TIMEOUT_S)
        import_s = torch_import_s()
        watched = [Watched(keeper) for keeper in able]
        measure(watched, turns, while_max_s)
    found = {each.keeper.name: each.found for each in watched}
    figures = {"kills": turns * KILLS, "torch_import_s": round(import_s, 2)}
    figures |= {name: told(each) for name, each in found.items()} | {"absent": absent}
    figures |= compose(found, watched[0].interval_s)
    show(figures, list(found))
    if arguments.json:
        print(json.dumps(figures))
    return 0 if figures["ok"] else 1


def torch_import_s() -> float:
    """Return what no restart can be faster than: torch's import alone, the best of three."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        took.append(time.monotonic() - began)
    return min(took)


def measure(watched: list[Watched], turns: int, while_max_s: float) -> None:
    """Start all keepers, kill the trainer of each in turn, and stop it once at the end."""
    try:
        for each in watched:
            say(f"{each.keeper.name}: starting")
            each.keeper.start()
            each.learn(0.0)
            each.train(1.0)
            if isinstance(each.keeper, keepers.Agent):
                each.train(2.5 * INTERVAL_SEEN_S)
                each.interval_s = checkpoint_interval_s(each.saved)
            each.keeper.pause()
        for turn in range(turns):
            first = turn % len(watched)
            for each in watched[first:] + watched[:first]:
                kill(each, random.Random(turn), while_max_s)
        for each in watched:
            say(f"{each.keeper.name}: SIGSTOP")
            resumed(each)
            each.train(1.0)
            each.found.hang = hang(each)
            each.keeper.pause()
    finally:
        for each in watched:
            each.keeper.close()


def resumed(watched: Watched) -> float:
    """Let a keeper's trainer go on; returns when it took its first new step."""
    began = time.time()
    watched.keeper.resume()
    return watched.learn(began)["at"]


def kill(watched: Watched, dice: random.Random, while_max_s: float) -> None:
    """Kill a keeper's trainer some times."""
    found, keeper = watched.found, watched.keeper
    back_at = resumed(watched)
    for _ in range(KILLS):
        last = watched.train(dice.uniform(1.0, while_max_s))
        killed_at = time.time()
        pid = signalled(watched, signal.SIGKILL)
        found.respawn.append(respawned(watched, pid) - killed_at)
        new = watched.learn(killed_at)
        reached = last["global_step"] + (last.get("sps") or 0.0) * (killed_at - last["at"])
        found.lost_steps.append(max(0, round(reached) - new["resumed"]))
        found.lost_s.append(killed_at - max(new["checkpoint"]["saved_at"], back_at))
        found.restart.append(new["at"] - killed_at)
        noticed = keeper.noticed(killed_at)
        if noticed is not None:
            found.detection.append(noticed - killed_at)
        back_at = new["at"]
        say(f"{keeper.name}: kill {len(found.restart)}: a new step after {found.restart[-1]:.2f} s")
    keeper.pause()


def say(text: str) -> None:
    """Tell what is going on."""
    print(text, file=sys.stderr, flush=True)


def signalled(watched: Watched, number: signal.Signals) -> int:
    """Send a signal to the trainer; returns its process."""
    pid = keepers.trainer_pid(watched.keeper.mark)
    assert pid is not None, f"{watched.keeper.name}: no trainer runs"
    os.kill(pid, number)
    return pid


def respawned(watched: Watched, old: int) -> float:
    """Wait for another trainer process; returns when it was first seen."""
    deadline = time.time() + WAIT_S
    while time.time() < deadline:
        if keepers.trainer_pid(watched.keeper.mark) not in (None, old):
            return time.time()
        time.sleep(LOOK_S)
    raise AssertionError(f"{watched.keeper.name}: no new trainer within {WAIT_S:g} s")


def hang(watched: Watched) -> float | None:
    """Stop the trainer; returns the seconds until its next new step, None if nobody restarts it in time."""
    began = time.time()
    pid = signalled(watched, signal.SIGSTOP)
    while time.time() < began + 2 * HANG_TIMEOUT_S:
        if keepers.trainer_pid(watched.keeper.mark) != pid:
            return watched.learn(began + 1.0)["at"] - began
        time.sleep(0.1)
    return None


def checkpoint_interval_s(saved: list[float]) -> float:
    """Return the time between two checkpoints of a trainer that has trained for a while; its first comes earlier."""
    return max(later - earlier for earlier, later in itertools.pairwise(saved))


def told(found: Measured) -> dict[str, float | None]:
    """Return a keeper's figures."""
    figures: dict[str, float | None] = {}
    for name in ("restart", "respawn", "detection", "lost_s", "lost_steps"):
        values = getattr(found, name)
        figures[f"{name}_median"] = round(statistics.median(values), 3) if values else None
        figures[f"{name}_max"] = round(max(values), 3) if values else None
    figures["hang_s"] = None if found.hang is None else round(found.hang, 2)
    return figures


def compose(found: dict[str, Measured], interval: float) -> dict:
    """Return what hours with faults are worth under each keeper."""
    cost = ettr.cost_s(interval, FAILURES_EVERY_S)
    trainer = ettr.Trainer(first_s=INTERVAL_MIN_S, interval_s=interval, cost_s=cost)
    figures: dict = {"checkpoint_interval_s": round(interval, 2), "checkpoint_cost_s": round(cost, 4), "rates": {}}
    ok = max(found["rlagent"].restart) <= GOAL_RESTART_S and found["rlagent"].hang is not None
    for rate in RATES:
        times, row = ettr.fault_times(rate, HOURS, seed=1), {}
        for name, each in found.items():
            down = Policy(each.restart) if name == "rlagent" else Plain(each.restart)
            outcome = ettr.live(HOURS, times, trainer, down)
            row[name] = round(100 * outcome.ettr, 3)
        mean = statistics.mean(found["rlagent"].restart)
        detect = statistics.mean(found["rlagent"].detection)
        row["bound"] = round(100 * ettr.bound(rate, interval, cost, detect, mean - detect), 3)
        figures["rates"][f"{rate:g}"] = row
        others = [value for name, value in row.items() if name not in ("rlagent", "bound")]
        if rate <= 3:
            ok = ok and row["rlagent"] >= row["bound"] - GOAL_POINTS and all(row["rlagent"] > other for other in others)
    return figures | {"ok": ok}


class Plain:
    """A keeper that restarts at once: what was measured, in turn."""

    def __init__(self, restarts: list[float]) -> None:
        self._restarts = restarts

    def __call__(self, number: int, at: float, ran: float) -> float:
        return self._restarts[number % len(self._restarts)]


class Policy(Plain):
    """The agent: its real policy says how long to wait first."""

    def __init__(self, restarts: list[float]) -> None:
        super().__init__(restarts)
        self._host = Host(rules(modes=(("light", 1),), games="A", max_crashes=1_000_000, blind_spot_incidents=0)).up()
        self._starts_at = self._back_at = 0.0

    def __call__(self, number: int, at: float, ran: float) -> float:
        if at < self._starts_at:  # it waits: there is nothing to kill
            return self._back_at - at
        if ran > 0:
            self._host.progress("A", at=self._back_at)
        self._host.crash("A", at=at)
        game = self._host.state.game("A")
        self._starts_at = max(at, game.not_before) if game.status == "BACKOFF" else at
        self._host.tick(self._starts_at)
        self._back_at = self._starts_at + super().__call__(number, at, ran)
        return self._back_at - at


def show(figures: dict, names: list[str]) -> None:
    """Print the figures for people."""
    print(f"{figures['kills']} kills for each keeper; `import torch` alone takes {figures['torch_import_s']:.2f} s\n")
    print(f"{'median (max)':18}{'respawn s':>16}{'new step s':>16}{'work lost s':>16}{'steps':>16}   SIGSTOP")
    for name in names:
        each = figures[name]
        cells = [
            f"{each[f'{what}_median']:.{digits}f} ({each[f'{what}_max']:.{digits}f})"
            for what, digits in (("respawn", 2), ("restart", 2), ("lost_s", 1), ("lost_steps", 0))
        ]
        hang_s = each["hang_s"]
        said = "never noticed" if hang_s is None else f"new step after {hang_s:.1f} s (timeout {HANG_TIMEOUT_S:g} s)"
        print(f"{name:18}" + "".join(f"{cell:>16}" for cell in cells) + f"   {said}")
    for name, reason in figures["absent"].items():
        print(f"{name:18}             n/a: {reason}")
    mine = figures["rlagent"]
    print(f"the agent notices a death after {mine['detection_median']:.3f} ({mine['detection_max']:.3f}) s")
    print(
        f"a checkpoint each {figures['checkpoint_interval_s']:.1f} s costs {1000 * figures['checkpoint_cost_s']:.0f} ms"
    )
    print(f"\n{'ETTR, %':18}{'bound':>12}" + "".join(f"{name:>18}" for name in names))
    for rate, row in figures["rates"].items():
        cells = "".join(f"{row[name]:18.2f}" for name in names)
        print(f"{rate:>3} faults an hour  {row['bound']:12.2f}{cells}")
    print("all goals met" if figures["ok"] else "A GOAL IS MISSED")


if __name__ == "__main__":
    sys.exit(main())
