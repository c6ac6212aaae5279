"""What the tests and the bench of rlctl share: a stand-in for a host's rlagent, and ways to run rlctl."""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ctl_statuses import status
from rlagent.protocol import messages

_OWN = tempfile.TemporaryDirectory(prefix="rlctl-tests-")
"""What rlctl keeps of its own between runs."""

TIMEOUT_S = 60
"""What a host is given where a test says nothing: the default is a person's patience, not that of a busy machine."""

RLCTL = (sys.executable, "-m", "rlctl")

AGENT = '''#!{python}
"""A host's rlagent as rlctl sees it: answers `call` from answers/, does all else for real, notes each request."""
import json, os, pathlib, sys, time

from rlagent.protocol import messages

ROOT = pathlib.Path({root!r})

def refuse_unknown(verb, line):
    """Say what an older agent says: it knows some verbs, and not every argument."""
    known = ROOT / "known.json"
    if not known.exists():
        return
    verbs, unknown = json.loads(known.read_text())
    given = json.loads(line)
    fault = next((f"Object contains unknown field `{{name}}`" for name in unknown if name in given), None)
    if verb not in verbs:
        fault = f"Invalid value '{{verb}}' - at `$.verb`"
    if fault:
        error = messages.Error(code="bad-request", message="not a request: " + fault, hint="verbs: ...")
        raise SystemExit(sys.stdout.write(messages.encode(messages.Reply(ok=False, error=error)).decode()) and 1)

def call():
    line = sys.stdin.buffer.readline()
    request = messages.decode_request(line)
    verb = type(request).__struct_config__.tag
    refuse_unknown(verb, line)
    if verb != "ping":  # every command may ask who is there
        with (ROOT / "requests.jsonl").open("ab") as notes:
            notes.write(messages.encode(request))
    answer = ROOT / "answers" / ("dry-" * getattr(request, "dry_run", False) + verb)
    time.sleep(float((ROOT / "delay_s").read_text()))
    sys.stdout.write(answer.read_text())
    raise SystemExit(0 if '"ok":true' in answer.read_text() else 1)

def stream():
    """The real thing, on this root's logs."""
    (ROOT / "logs.pid").write_text(str(os.getpid()))
    os.execv({python!r}, [{python!r}, "-m", "rlagent", "--config", str(ROOT / "config.toml"), *sys.argv[1:]])

call() if sys.argv[1] == "call" else stream()
'''


class Agent:
    """The stand-in under a root folder; answers each verb with what a test gives it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("bin", "answers", "logs"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self.program = root / "bin" / "rlagent"
        self.program.write_text(AGENT.format(python=sys.executable, root=str(root)))
        self.program.chmod(0o755)
        (root / "delay_s").write_text("0")
        self.answer("ping", {"version": "0.1.0", "pid": 77, "host_uuid": "6f1c"})
        games = "".join(f'[[games]]\nname = "{name}"\ntarget_frames = 1000\n' for name in ("Pong", "MsPacman"))
        (root / "config.toml").write_text(f"[agent]\nstate_dir = {json.dumps(str(root))}\n{games}")
        self.answer("status", status())
        self.answer("history", [])
        self.answer("explain", messages.Explanation(next_action="nothing", lines=[]))
        for verb in ("hold", "release", "rollback", "scale", "stop", "start", "announce-reboot", "withdraw-reboot"):
            self.answer(verb, messages.Done(decisions=[f"{verb} done"]))
            self.answer(f"dry-{verb}", messages.Done(decisions=[f"{verb} foreseen"]))

    def answer(self, verb: str, result: object) -> None:
        """Answer a verb with a result."""
        self.say(verb, messages.encode(messages.Reply(ok=True, result=msgspec.to_builtins(result))).decode())

    def fail(self, verb: str, code: messages.ErrorCode, message: str, hint: str | None = None) -> None:
        """Answer a verb with an error."""
        error = messages.Error(code=code, message=message, hint=hint)
        self.say(verb, messages.encode(messages.Reply(ok=False, error=error)).decode())

    def say(self, verb: str, text: str) -> None:
        """Answer a verb with any text; a call at this moment gets the old answer or the new one, whole."""
        written = self.root / "answer"
        written.write_text(text)
        written.replace(self.root / "answers" / verb)

    def knows(self, *verbs: str, without: Sequence[str]) -> None:
        """Be an older agent, that knows these verbs alone, and lacks some arguments."""
        (self.root / "known.json").write_text(json.dumps([verbs, list(without)]))

    def revived(self, how: str) -> None:
        """Say with each answer that the agent was dead."""
        for answer in (self.root / "answers").iterdir():
            reply = messages.decode_reply(answer.read_bytes())
            answer.write_bytes(messages.encode(msgspec.structs.replace(reply, revived=how)))

    def slow(self, seconds: float) -> None:
        """Take so long for each answer."""
        (self.root / "delay_s").write_text(str(seconds))

    def log(self, game: str, text: str) -> None:
        """Append to the log of a game (`agent`: its own)."""
        with (self.root / "logs" / f"{game}.log").open("a") as file:
            file.write(text)

    def requests(self) -> list[dict[str, Any]]:
        """Return what was asked, oldest first."""
        notes = self.root / "requests.jsonl"
        return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []

    def local(self, **more: object) -> dict[str, object]:
        """Return the inventory variables that reach it without SSH."""
        return {"ansible_connection": "local", "rlfleet_root": str(self.root), **more}


def inventory(folder: Path, hosts: Mapping[str, Mapping[str, object]], group: str = "gpu_servers") -> Path:
    """Write an inventory and return its path."""
    path = folder / "hosts.yml"
    path.write_text(json.dumps({group: {"hosts": {name: dict(values) for name, values in hosts.items()}}}))
    return path


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which nothing of this machine's user decides."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "RLFLEET_", "SSH_", "COLUMNS"))}
    folders = {f"XDG_{kind}_HOME": f"{_OWN.name}/{kind.lower()}" for kind in ("STATE", "CACHE")}
    return kept | folders | {"TERM": "xterm-256color", "TZ": "UTC"} | more


def command(*words: object) -> list[str]:
    """Return the command line of rlctl with these words; hosts have time to answer unless the words say how long."""
    given = [*map(str, words)]
    patience = ["--timeout", str(TIMEOUT_S)] if "-i" in given and "--timeout" not in given else []
    return [*RLCTL, *patience, *given]


def rlctl(
    *words: object, cwd: Path | None = None, timeout_s: float = 3.0 * TIMEOUT_S, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run rlctl as a person's script would."""
    return subprocess.run(
        command(*words),
        cwd=cwd,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Terminal:
    """rlctl on a terminal, for questions, colours and Ctrl-C."""

    def __init__(self, *words: object, columns: int = 100, **env: str) -> None:
        master, slave = pty.openpty()
        self._master = master
        self.output = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end within a character
        self.process = subprocess.Popen(
            command(*words),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(COLUMNS=str(columns), LINES="50", **env),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # so that Ctrl-C is a signal
        )
        os.close(slave)

    def read_until(self, text: str, timeout_s: float = 120.0) -> str:
        """Read until a text has appeared."""
        end = time.monotonic() + timeout_s
        while text not in self.output:
            if time.monotonic() > end:
                break
            if select.select([self._master], [], [], 0.2)[0] and not self._read():
                break
        if text not in self.output:
            self.process.kill()
            raise AssertionError(f"no {text!r} in {self.output!r}")
        return self.output

    def type(self, text: str) -> None:
        """Type a text."""
        os.write(self._master, text.encode())

    def finish(self, timeout_s: float = 120.0) -> int:
        """Read to the end and return the exit code."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and (self.process.poll() is None or select.select([self._master], [], [], 0)[0]):
            if select.select([self._master], [], [], 0.1)[0] and not self._read():
                break
        try:
            return self.process.wait(timeout=30)
        finally:
            self.process.kill()
            os.close(self._master)

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the last process on the terminal is gone
            return False
        self.output += self._decoder.decode(data)
        return bool(data)


def gone(pid: int, timeout_s: float = 60.0) -> bool:
    """Say whether a process ends in time."""
    end = time.monotonic() + timeout_s
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
