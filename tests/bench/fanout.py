"""How long one look at 64 hosts takes: `rlctl status` beside what a person would use without it.

    python tests/bench/fanout.py [--quick] [--json] [--hosts N]

Boots N real hosts (tests/lab, needs root; real sshd's, real agents), then runs all programs in turn, round after round,
so that a busy machine slows all of them. Whole processes are timed, from their start to their end:

- `rlctl status` (a live answer of each agent; what rlctl remembers between runs is there, as in daily use),
- the same for the first time, with nothing remembered,
- a bare Fabric ThreadingGroup with `cat` of the agent's status file: no host key check, no configuration per host,
- `ansible -m command` with `cat`, as many forks as hosts,
- `clush` and `parallel-ssh`, which start OpenSSH for each host; installed if missing, else n/a.

Goals: rlctl within 1.15 x of bare Fabric, and 5 x faster than Ansible. With --json the last line is one object with the
figures: medians in seconds, ratios, and why a program is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lab import agents, borrow, needs
from lab.lab import Lab

FABRIC_LIMIT_RATIO = 1.15
ANSIBLE_GOAL_RATIO = 5.0
READ = f"cat {agents.ROOT}/var/status.json"
OPENSSH_TOOLS = {"clush": "clustershell", "parallel-ssh": "pssh"}
"""Debian's packages, by the program that is in them."""

BARE_FABRIC = """\
import sys, fabric
config, command, *hosts = sys.argv[1:]
group = fabric.ThreadingGroup(*hosts, config=fabric.Config(runtime_ssh_path=config))
results = group.run(command, hide=True)
sys.exit(len(results) != len(hosts))
"""


def main() -> int:
    """Boot, measure, print, and exit with 1 when a goal is missed; where no lab can run, say why and exit with 0."""
    parser = argparse.ArgumentParser(description="one look at many hosts: rlctl beside Fabric, Ansible, OpenSSH")
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 9")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--hosts", type=int, default=64, metavar="N", help="default: 64")
    options = parser.parse_args()
    python = borrow.controller_python()
    reason = needs.missing() or (python if isinstance(python, str) else None)
    if reason is not None or isinstance(python, str):
        print(f"fanout: not measured: {reason}")
        if options.json:
            print(json.dumps({"measured": False, "reason": reason}))
        return 0
    missing = {name: why for name, package in OPENSSH_TOOLS.items() if (why := ensure(name, package))}
    with Lab([agents.spec(python) for _ in range(options.hosts)]) as lab:
        agents.start(lab.hosts.values(), python)
        programs = {name: words for name, words in commands(lab).items() if name not in missing}
        times = measure(lab, programs, rounds=3 if options.quick else 9)
    figures = report(times, missing, options.hosts)
    show(figures)
    if options.json:
        print(json.dumps(figures))
    return 0 if figures["fabric_goal_met"] and figures["ansible_goal_met"] else 1


def ensure(program: str, package: str) -> str | None:
    """Install a program where it is missing; return why that can't be, if so."""
    if shutil.which(program) is not None:
        return None
    if shutil.which("apt-get") is None:
        return f"{program} is not installed, and there is no apt-get"
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
    done = subprocess.run(
        install, capture_output=True, text=True, check=False, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    )
    return None if shutil.which(program) is not None else f"apt-get install {package}: {last_line(done.stderr)}"


def commands(lab: Lab) -> dict[str, list[str]]:
    """Return the words of each program."""
    hosts, config = list(lab.hosts), str(lab.ssh_config)
    script = lab.folder / "bare_fabric.py"
    script.write_text(BARE_FABRIC)
    many = str(len(hosts))
    inventory = str(lab.inventory)
    rlctl = [sys.executable, "-m", "rlctl", "-i", inventory, "status"]
    return {
        "fabric": [sys.executable, str(script), config, READ, *hosts],
        "rlctl": rlctl,
        "rlctl_first": rlctl,
        "ansible": ["ansible", "-i", inventory, "all", "-f", many, "-m", "ansible.builtin.command", "-a", READ],
        "clush": ["clush", "-q", "-f", many, "-o", f"-F {config}", "-w", ",".join(hosts), READ],
        "parallel-ssh": [
            *("parallel-ssh", "-i", "-p", many, "-x", f"-F {config}"),
            *(word for host in hosts for word in ("-H", host)),
            READ,
        ],
    }


def measure(lab: Lab, programs: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Run all programs in turn, after one warm-up each; return their wall times in seconds."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    nothing = lab.folder / "nothing"
    for turn in range(rounds + 1):
        for name, words in programs.items():
            environment = {"ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3", "ANSIBLE_HOST_KEY_CHECKING": "True"}
            if name == "rlctl_first":
                shutil.rmtree(nothing, ignore_errors=True)
                environment |= {"XDG_CACHE_HOME": f"{nothing}/cache", "XDG_STATE_HOME": f"{nothing}/state"}
            begin = time.perf_counter()
            done = lab.run(*words, check=False, env=environment, timeout=300)
            took_s = time.perf_counter() - begin
            if done.returncode != 0:
                raise SystemExit(
                    f"fanout: {name} ended with {done.returncode}: {last_line(done.stderr or done.stdout)}"
                )
            if turn > 0:
                times[name].append(took_s)
            # Ansible's lasting connections would spare it the next round's logins, which the others pay for.
            shutil.rmtree(lab.folder / "control", ignore_errors=True)
    return times


def report(times: dict[str, list[float]], missing: dict[str, str], hosts: int) -> dict[str, object]:
    """Return medians, ratios and verdicts."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    figures: dict[str, object] = {"measured": True, "hosts": hosts, "rounds": len(times["rlctl"])}
    figures |= {f"{name}_s": round(value, 3) for name, value in medians.items()}
    figures |= {f"{name}_to_fabric": round(value / medians["fabric"], 2) for name, value in medians.items()}
    figures["ansible_to_rlctl"] = round(medians["ansible"] / medians["rlctl"], 1)
    figures["fabric_goal_met"] = medians["rlctl"] <= FABRIC_LIMIT_RATIO * medians["fabric"]
    figures["ansible_goal_met"] = medians["ansible"] >= ANSIBLE_GOAL_RATIO * medians["rlctl"]
    figures["missing"] = missing
    return figures


def show(figures: dict[str, object]) -> None:
    """Print the figures for people."""
    print(f"{figures['hosts']} hosts, medians of {figures['rounds']} rounds")
    labels = {
        "fabric": "bare Fabric, cat",
        "rlctl": "rlctl status",
        "rlctl_first": "rlctl status, first time",
        "ansible": "ansible -m command, cat",
        "clush": "clush, cat",
        "parallel-ssh": "parallel-ssh, cat",
    }
    missing = figures["missing"]
    for name, label in labels.items():
        if f"{name}_s" in figures:
            print(f"{label:26} {figures[f'{name}_s']:7.2f} s  {figures[f'{name}_to_fabric']:5.2f} x bare Fabric")
        else:
            print(f"{label:26}     n/a    {missing[name] if isinstance(missing, dict) else ''}")
    print(f"rlctl within {FABRIC_LIMIT_RATIO} x of bare Fabric: {'yes' if figures['fabric_goal_met'] else 'NO'}")
    verdict = "yes" if figures["ansible_goal_met"] else "NO"
    print(f"rlctl {ANSIBLE_GOAL_RATIO:g} x faster than Ansible ({figures['ansible_to_rlctl']} x): {verdict}")


def last_line(text: str) -> str:
    """Return the last line that says something."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


if __name__ == "__main__":
    sys.exit(main())
