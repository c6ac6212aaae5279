"""What the agent costs with ten trainers: resident memory, CPU, and whether it grows.

    python tests/bench/footprint.py [--quick] [--json]

Two parts. A real agent at its default pace with ten small real trainers, for an hour (--quick: half a minute). And the
same daemon in one process without waiting, its clocks going one second a turn, with ten real idle processes whose
reports this program writes: 24 simulated hours (--quick: two). Limits: 40 MiB resident, 0.3 % of a core, growth of the
resident memory below 1 MiB after the first tenth: that of a line fitted to it, as it goes up and down by a MiB or two
when SQLite and the allocator take and give back. With --json the last line is one object with the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from agent_host import AgentHost

RSS_LIMIT_MIB, CPU_LIMIT_PERCENT, GROWTH_LIMIT_MIB = 40.0, 0.3, 1.0
GAMES = [f"Game{number}" for number in range(10)]
MODES = [{"name": "wide", "games": len(GAMES), "num_envs": 1, "batch_size": 4}]
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure, print, and exit with 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description="memory and CPU of the agent with ten trainers")
    parser.add_argument("--quick", action="store_true", help="half a minute and two simulated hours")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--simulate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--hours", type=float, default=24.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.simulate is not None:
        print(json.dumps(simulate(arguments.simulate, arguments.hours)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        figures = real(Path(folder), 30.0 if arguments.quick else 3600.0)
    hours = 2.0 if arguments.quick else 24.0
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--simulate", folder, "--hours", str(hours)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures |= json.loads(done.stdout)
    figures["ok"] = (
        max(figures["rss_mib"], figures["simulated_rss_mib"]) <= RSS_LIMIT_MIB
        and figures["cpu_percent"] <= CPU_LIMIT_PERCENT
        and max(figures["growth_mib"], figures["simulated_growth_mib"]) < GROWTH_LIMIT_MIB
    )
    show(figures)
    if arguments.json:
        print(json.dumps(figures))
    return 0 if figures["ok"] else 1


def host_of(folder: Path, *command: str) -> AgentHost:
    """Return a host with ten games in one mode, at the default pace."""
    return AgentHost(
        folder,
        agent={"tick_s": 1.0, "journal_tick_s": 60.0},
        supervisor={"hang_timeout_s": 300.0},
        games=[{"name": name, "target_frames": 2**50} for name in GAMES],
        modes=MODES,
        **({"trainer": {"command": list(command)}} if command else {}),
    )


def real(folder: Path, seconds: float) -> dict[str, float]:
    """Watch a real agent."""
    host = host_of(folder)
    try:
        host.start().wait_running(len(GAMES), timeout_s=120)
        pid = host.process.pid
        time.sleep(5)
        cpu, began, rss = cpu_s(pid), time.monotonic(), []
        while time.monotonic() < began + seconds:
            time.sleep(1)
            rss.append(rss_mib(pid))
        percent = 100 * (cpu_s(pid) - cpu) / (time.monotonic() - began)
    finally:
        host.close()
    return {
        "seconds": round(seconds),
        "rss_mib": round(max(rss), 1),
        "cpu_percent": round(percent, 3),
        "growth_mib": growth_mib(rss),
    }


def simulate(folder: Path, hours: float) -> dict[str, float]:
    """Let the daemon live through simulated hours in this process."""
    from rlagent.config import load  # noqa: PLC0415  # only here: what is measured is this process
    from rlagent.daemon import Daemon  # noqa: PLC0415

    host = host_of(folder, "sleep", "1000000")
    host.paths.logs.mkdir(parents=True)
    clock = Clock()
    try:
        daemon = Daemon(load(host.config), host.paths)
        daemon.take_over()
        turns, rss, work_s = round(hours * 3600), [], 0.0
        for turn in range(turns):
            clock.shift_s += 1
            if turn % 2 == 0:
                report(host.paths.runs, turn, clock.now())
            began = time.thread_time()
            daemon.turn()
            work_s += time.thread_time() - began
            if turn % 600 == 0:
                rss.append(rss_mib(os.getpid()))
                host.process = None
        running = [game["state"] for game in json.loads(host.paths.status_json.read_text())["trainers"]]
        assert running == ["RUNNING"] * len(GAMES), running
    finally:
        host.close()
    return {
        "simulated_hours": hours,
        "simulated_rss_mib": round(max(rss), 1),
        "simulated_growth_mib": growth_mib(rss),
        "turn_ms": round(1000 * work_s / turns, 3),
    }


class Clock:
    """The clocks of this process: real time and a shift that grows."""

    def __init__(self) -> None:
        self.shift_s = 0.0
        monotonic, wall = time.monotonic, time.time
        time.monotonic = lambda: monotonic() + self.shift_s
        self.now = time.time = lambda: wall() + self.shift_s


def report(runs: Path, step: int, wall: float) -> None:
    """Write every trainer's report, as it does itself each two seconds."""
    saved = {"global_step": step // 90 * 90, "saved_at": wall}
    content = json.dumps({"global_step": step + 1, "sps": 500.0, "episodes": step, "checkpoint": saved})
    for game in GAMES:
        temporary = runs / game / "progress.tmp"
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content)
        temporary.replace(runs / game / "progress.json")


def growth_mib(rss: list[float]) -> float:
    """Return by how much a line fitted to these equally spaced samples rises after their first tenth."""
    settled = rss[max(1, len(rss) // 10) :]
    slope, _ = statistics.linear_regression(range(len(settled)), settled)
    return round(slope * (len(settled) - 1), 2)


def rss_mib(pid: int) -> float:
    """Return a process's resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def show(figures: dict[str, float]) -> None:
    """Print the figures for people."""
    print(f"real agent, {figures['seconds']} s with ten trainers")
    print(f"  resident      {figures['rss_mib']:7.1f} MiB   (limit {RSS_LIMIT_MIB:g})")
    print(f"  CPU           {figures['cpu_percent']:7.3f} %     of a core (limit {CPU_LIMIT_PERCENT:g})")
    print(f"  growth        {figures['growth_mib']:7.2f} MiB   (limit {GROWTH_LIMIT_MIB:g})")
    print(f"daemon, {figures['simulated_hours']:g} simulated hours")
    print(f"  resident      {figures['simulated_rss_mib']:7.1f} MiB")
    print(f"  growth        {figures['simulated_growth_mib']:7.2f} MiB")
    print(f"  one turn      {figures['turn_ms']:7.3f} ms    of CPU")
    print("all limits kept" if figures["ok"] else "A LIMIT IS MISSED")


if __name__ == "__main__":
    sys.exit(main())
