"""The demo: deploys the agent to this machine, lets real games learn, and shows promotion, crashes and demotion.

    make demo         all of it, about four minutes after the set-up; the agent goes on running afterwards
    make demo-down    stops the agent and its trainers and removes everything the demo installed

It talks to the agent only through the programs a user has: ansible-playbook, rlctl and kill. It has a folder of its
own, `~/.local/share/rlfleet-demo`, so that it never meets a deployment of yours.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
RLCTL = [str(BIN / "rlctl"), "-i", str(CHECKOUT / "inventory" / "local"), "--timeout", "60"]
HOST = "local"
ROOT = Path("~/.local/share/rlfleet-demo").expanduser()
ENVIRONMENT = {**os.environ, "RLFLEET_LOCAL_ROOT": str(ROOT), "PYTHONUNBUFFERED": "1"}
POLL_S = 1.0
"""Between two looks: each starts rlctl, which takes its time from the trainers."""
SIGN_OF_LIFE_S = 0.9
STATUS_AGE_S = 3.0
"""What a status says is at most this old."""
KILLS = 4


class DemoError(Exception):
    """The demo did not show what it should; the message says what is missing and where to look."""


def say(text: str = "") -> None:
    """Print for the person watching."""
    print(text, flush=True)


def heading(text: str) -> None:
    """Announce the next part."""
    say(f"\n=== {text}")


def run(command: list[str], *, cwd: Path = CHECKOUT, quiet: bool = False) -> None:
    """Run a program, show its output as it comes, and a sign of life when it is silent. Raises DemoError."""
    say("$ " + " ".join(command).replace(str(BIN) + "/", "").replace(str(CHECKOUT) + "/", ""))
    alive = threading.Event()
    done = threading.Event()
    dots = threading.Event()

    def ticker() -> None:
        while not done.wait(SIGN_OF_LIFE_S):
            if not alive.is_set():
                sys.stdout.write(".")
                sys.stdout.flush()
                dots.set()
            alive.clear()

    process = subprocess.Popen(
        command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"COLUMNS": "100", **ENVIRONMENT},
    )
    thread = threading.Thread(target=ticker, daemon=True)
    thread.start()
    for line in process.stdout:
        alive.set()
        if dots.is_set():
            dots.clear()
            say()
        if not quiet or line.startswith(("fatal", "failed", "PLAY RECAP", HOST)):
            say(line.rstrip("\n"))
    done.set()
    thread.join()
    if process.wait() != 0:
        raise DemoError(f"that ended with exit code {process.returncode}; its output above says why")


def status() -> dict:
    """Return the host's part of `rlctl status -o json`; `error` says why there is none."""
    command = [*RLCTL, "status", HOST, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    try:
        host = json.loads(done.stdout)["hosts"][0]
    except (ValueError, LookupError):
        return {"error": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "rlctl said nothing"}
    return host


def trainers(host: dict) -> list[dict]:
    """Return the trainers that have a slot."""
    return host.get("trainers") or []


def wait_for(what: str, condition: Callable[[dict], bool], timeout_s: float) -> dict:
    """Show the host once a second until a condition holds. Raises DemoError when it does not come true in time."""
    say(f"waiting for {what}")
    begin = time.monotonic()
    latest: dict = {}
    asked, stop = threading.Event(), threading.Event()

    def poll() -> None:
        nonlocal latest
        while not stop.is_set():
            latest = status()
            asked.set()
            stop.wait(POLL_S)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    told = begin
    try:
        while not (latest.get("ok") and condition(latest)):
            now = time.monotonic()
            if now - begin > timeout_s:
                raise DemoError(f"no {what} within {timeout_s:.0f} s; see: rlctl -i inventory/local history {HOST}")
            if now >= told:
                say(f"  {now - begin:4.0f} s  {line(latest)}")
                told = now + SIGN_OF_LIFE_S
            asked.wait(max(0.0, told - time.monotonic()))
            asked.clear()
    finally:
        stop.set()
        thread.join()
    say(f"  {time.monotonic() - begin:4.0f} s  {line(latest)}")
    return latest


def line(host: dict) -> str:
    """Return the host in one line."""
    if not host.get("ok"):
        return host.get("error") or "asking the agent"
    games = ", ".join(f"{t['game']} {t['state']} {t['global_step'] or 0}" for t in trainers(host))
    incidents = host["incidents_last_hour"]
    return f"{host['mode']:7} incidents {incidents}  {games or 'no trainer yet'}"


def all_learning(count: int) -> Callable[[dict], bool]:
    """Return a condition: so many trainers run, and each has taken steps in this very period."""
    first: dict[int, int] = {}

    def condition(host: dict) -> bool:
        running = [t for t in trainers(host) if t["state"] == "RUNNING" and t["global_step"] is not None and t["pid"]]
        for trainer in running:
            first.setdefault(trainer["pid"], trainer["global_step"])
        growing = [t for t in running if t["global_step"] > first[t["pid"]]]
        return len(growing) == count == len(trainers(host))

    return condition


def kill_one(host: dict, number: int) -> None:
    """Kill the trainer that has run longest, for real, and wait until all of them take steps again."""
    victim = trainers(host)[number % len(trainers(host))]
    say(f"$ kill -9 {victim['pid']}    # {victim['game']}, crash {number + 1} of {KILLS}")
    os.kill(victim["pid"], signal.SIGKILL)


def committed_since(moment: float) -> Callable[[dict], bool]:
    """Return a condition: every trainer runs and has a checkpoint, and one was committed since a monotonic moment."""

    def condition(host: dict) -> bool:
        ages = [t["checkpoint_age_s"] for t in trainers(host)]
        whole = bool(ages) and None not in ages and all_running(host)
        return whole and min(ages) + STATUS_AGE_S < time.monotonic() - moment

    return condition


def deploy() -> None:
    """Deploy the agent to this machine with the shortened clock."""
    settings = ("-e", "@vars/demo.yml", "-e", f"rlfleet_trainer_python={sys.executable}")
    command = [str(BIN / "ansible-playbook"), "-i", "../inventory/local", "deploy.yml", *settings]
    run(command, cwd=CHECKOUT / "playbooks")


def demo() -> None:
    """Run the whole demo. Raises DemoError."""
    if ROOT.exists():
        heading("0. An earlier demo is removed")
        down()
    heading("1. Ansible deploys the agent to this machine, without root")
    deploy()
    heading("2. Light mode: two real Atari games learn on the CPU")
    wait_for("two trainers that take steps", all_learning(2), 300)
    run([*RLCTL, "status", HOST])
    heading("3. After enough stable time (seconds here, an hour by default) the policy promotes")
    wait_for("the promotion to medium", lambda host: host["mode"] == "medium", 300)
    host = wait_for("four trainers that take steps", all_learning(4), 300)
    run([*RLCTL, "status", HOST])
    heading(f"4. {KILLS} trainers are killed with SIGKILL: more than 3 incidents in the window demote")
    crashed = -math.inf
    for number in range(KILLS):
        # Three crashes in a row without a checkpoint between them demote as well: that is not what is shown here.
        host = wait_for("a checkpoint since the last crash", committed_since(crashed), 300)
        before = host["incidents_last_hour"]
        kill_one(host, number)
        crashed = time.monotonic()
        wait_for("the incident", lambda h, before=before: h["incidents_last_hour"] > before, 120)
        if number < KILLS - 1:
            host = wait_for("all four learning again", all_learning(4), 300)
    host = wait_for("light mode", lambda h: h["mode"] == "light", 180)
    wait_for("two trainers that go on from their checkpoints", all_learning(2), 300)
    heading("5. What happened and why")
    run([*RLCTL, "history", HOST])
    run([*RLCTL, "explain", HOST])
    run([*RLCTL, "status", HOST])
    farewell()


def all_running(host: dict) -> bool:
    """Whether every trainer takes steps."""
    return all(t["state"] == "RUNNING" for t in trainers(host))


def farewell() -> None:
    """Say how to look further, and how to stop."""
    heading("The agent goes on: it will promote again when the cooldown is over. Look further with")
    say(f"  export RLFLEET_LOCAL_ROOT={ROOT}")
    for command in ("watch", f"logs {HOST} MsPacman -f", f"explain {HOST}", f"hold light {HOST}", f"rollback {HOST}"):
        say(f"  .venv/bin/rlctl -i inventory/local {command}")
    say("\nStop it and remove everything it installed:\n  make demo-down")


def down() -> None:
    """Stop and remove what the demo left."""
    command = [str(BIN / "ansible-playbook"), "-i", "../inventory/local", "uninstall.yml", "-e", "rlfleet_purge=true"]
    run(command, cwd=CHECKOUT / "playbooks")


def main() -> int:
    """Run the demo, or take it down; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--down", action="store_true", help="stop what the demo left running and remove it")
    arguments = parser.parse_args()
    try:
        (down if arguments.down else demo)()
    except DemoError as error:
        say(f"\nThe demo failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nStopped watching; the agent goes on. Remove it with: make demo-down")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
