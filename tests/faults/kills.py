"""A real agent that is killed thousands of times: real journal, socket, clocks and files, but no trainers.

Each life is a fork of a process that has everything loaded already, so that thousands of starts cost seconds. It opens
the journal, takes over, answers wishes on its socket, and is killed with SIGKILL at a random instant. One thing is left
out: the look for strangers among all processes of the machine, which costs more than all the rest.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec

from rlagent.config import Config, to_rules
from rlagent.daemon import Daemon
from rlagent.journal import Journal, Stamp
from rlagent.paths import Paths
from rlagent.policy import State, step
from rlagent.policy import events as ev
from rlagent.protocol import messages
from rlagent.supervisor import Supervisor

for module in ("pynvml", "tomli_w"):
    importlib.import_module(module)  # before the forks, not in each life

START_S_MAX = 0.03
"""Half of the lives end within so long after the fork: mostly while the agent starts."""
BUSY_S_MAX = 0.006
"""The others end within so long after their first answer: between wishes and turns, or within one."""
ANSWER_S_MAX = 20.0
WISHES_MAX = 4


def config(folder: Path) -> Config:
    """The default ladder on a fast clock."""
    raw = {"agent": {"state_dir": str(folder), "tick_s": 0.05, "journal_tick_s": 0.05}}
    return msgspec.convert(raw, type=Config)


def live(settings: Config, paths: Paths) -> None:
    """Be the agent until killed; in a forked child."""
    logging.disable(logging.CRITICAL)
    Supervisor.kill_strangers = lambda *_: None
    with contextlib.suppress(BaseException):
        Daemon(settings, paths).run()
    os._exit(1)  # only a kill is a good end


def wish(paths: Paths, number: int, deadline: float) -> bool:
    """Ask for a stop with this number; True: it was acknowledged."""
    request = messages.encode(messages.Stop(who="test", why=str(number)))
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            sock.connect(str(paths.socket))
            sock.sendall(request)
            reply = sock.makefile("rb").readline()
            return bool(reply) and messages.decode_reply(reply).ok
        time.sleep(0.0005)
    return False


def first_life(settings: Config, paths: Paths) -> None:
    """Bring a host up and stop it, so that no trainer is ever started."""
    paths.state_dir.mkdir(parents=True, exist_ok=True)
    journal = Journal(paths.journal)
    stamp = Stamp(t=0.0, wall=time.time(), monotonic=time.monotonic(), boot="none/0")
    state = State(stopped=True)
    event = ev.JournalRecovered(t=0.0, wall=stamp.wall, state=state, how="a stopped host")
    after, decisions = step(State(), event)
    journal.append(stamp, event, decisions, after)
    configured = ev.Configured(t=0.0, wall=stamp.wall, rules=to_rules(settings))
    after, decisions = step(after, configured)
    journal.append(stamp, configured, decisions, after)
    journal.close()


def kill_often(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill one host's agent so many times, then check its journal; returns what happened."""
    paths, chance = Paths(folder), random.Random(seed)
    settings = config(folder)
    first_life(settings, paths)
    asked, acked, died = 0, [], 0
    for number in range(kills):
        pid = os.fork()
        if pid == 0:
            live(settings, paths)
        now = time.monotonic()
        deadline = now + chance.random() * START_S_MAX
        if number % 2:
            asked += 1
            acked += [asked] if wish(paths, asked, now + ANSWER_S_MAX) else []
            deadline = time.monotonic() + chance.random() * BUSY_S_MAX
        for _ in range(WISHES_MAX):
            if time.monotonic() < deadline:
                asked += 1
                acked += [asked] if wish(paths, asked, deadline) else []
        time.sleep(max(0.0, deadline - time.monotonic()))
        os.kill(pid, signal.SIGKILL)
        died += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL
    return {"kills": kills, "died": died, "asked": asked, "acked": len(acked), **check(paths, acked)}


def check(paths: Paths, acked: list[int]) -> dict[str, int]:
    """Fail unless the journal is whole, the fold of its events, and has every acknowledged wish once and in order."""
    journal = Journal(paths.journal)
    state, entries = State(), list(journal.entries())
    for entry in entries:
        state, decisions = step(state, entry.event)
        assert decisions == entry.decisions, entry
    assert state == journal.state
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    wishes = [int(entry.event.why) for entry in entries if isinstance(entry.event, ev.StopRequested)]
    assert wishes == sorted(set(wishes)), "an event is doubled or out of order"
    assert set(acked) <= set(wishes), f"lost: {sorted(set(acked) - set(wishes))}"
    assert not [path for path in paths.state_dir.iterdir() if "damaged" in path.name]
    recovered = sum(isinstance(entry.event, ev.JournalRecovered) for entry in entries)
    assert recovered == 1
    starts = sum(isinstance(entry.event, ev.AgentStarted) for entry in entries)
    return {"events": len(entries), "wishes": len(wishes), "starts": starts}


if __name__ == "__main__":
    print(msgspec.json.encode(kill_often(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))).decode())
