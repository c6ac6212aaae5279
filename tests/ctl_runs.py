"""What the tests and the bench of rlctl share: a stand-in for a host's rlagent, a real sshd, and ways to run rlctl."""

from __future__ import annotations

import codecs
import contextlib
import datetime as dt
import fcntl
import getpass
import json
import os
import pty
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rlagent.protocol import messages
from rlagent.protocol import status as st

_OWN = tempfile.TemporaryDirectory(prefix="rlctl-tests-")
"""What rlctl keeps of its own between runs."""

_PORTS: list[socket.socket] = []
"""Keep the ports that were given out, so that nobody else on this machine is given them."""

TIMEOUT_S = 60
"""What a host is given where a test says nothing: the default is a person's patience, not that of a busy machine."""

RLCTL = (sys.executable, "-m", "rlctl")
SSHD = shutil.which("sshd") or next((p for p in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if os.path.exists(p)), None)  # noqa: PTH110

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


def trainer(game: str, state: st.TrainerState = "RUNNING", **changes: Any) -> st.TrainerStatus:
    """Return a trainer with plausible numbers."""
    values: dict[str, Any] = {
        "pid": 4121,
        "attempt": 1,
        "global_step": 8_100_000,
        "sps": 2101.4,
        "episodes": 8101,
        "episodes_per_hour": 412.2,
        "best_return": 4230.0,
        "mean_return_100": 1912.34,
        "checkpoint_age_s": 42.0,
        "progress": 0.81,
        "target_frames": 40_000_000,
    }
    return st.TrainerStatus(game=game, state=state, **(values | changes))


def queued(game: str, state: st.TrainerState = "QUEUED", **changes: Any) -> st.TrainerStatus:
    """Return a game without a slot."""
    return st.TrainerStatus(game=game, state=state, **changes)


def status(**changes: Any) -> st.AgentStatus:
    """Return a healthy host's status, with changes."""
    trainers = changes.pop("trainers", [trainer("MsPacman"), trainer("Pong", pid=4122)])
    values: dict[str, Any] = {
        "written_at": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "agent": st.AgentInfo(version="0.1.0", pid=77, host_uuid="6f1c", uptime_s=266_400.0, rss_mib=31.0),
        "mode": "medium",
        "mode_since": "2026-11-23T10:00:00Z",
        "in_mode_s": 8040.0,
        "ladder": ["light", "medium", "heavy"],
        "uptime_s": 270_000.0,
        "host": st.HostReadings(
            cpu_count=4,
            load_1m=3.8,
            memory_total_mib=32768.0,
            memory_available_mib=20480.0,
            memory_pressure_percent=0.3,
            disk_free_mib=215_040.0,
            disk_total_mib=512_000.0,
        ),
        "gpu": [
            st.GpuStatus(
                index=0,
                name="NVIDIA A100 80GB PCIe",
                utilization_percent=87.0,
                memory_used_mib=31_949.0,
                memory_total_mib=81_920.0,
                temperature_c=61.0,
                power_w=285.0,
            )
        ],
        "stable_s": 2520.0,
        "stable_needed_s": 3600.0,
        "incidents_last_hour": 0,
        "reboots_last_hour": 0,
        "incidents": [],
        "trainers": trainers,
        "games": [*trainers, queued("Breakout"), queued("Qbert", "EXITED")],
        "alerts": [],
        "next_action": st.NextAction(
            kind="promote",
            at="2026-11-23T14:05:00Z",
            in_s=1080.0,
            reason="to heavy: 60 min stable then, if nothing crashes",
        ),
        "projection": st.Projection(hours_left=12.4),
    }
    return st.AgentStatus(**(values | changes))


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


class Sshd:
    """A real sshd on loopback, for the current user, with a key of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.key = folder / "id"
        self.known_hosts = folder / "known_hosts"
        for name in ("id", "host_key"):
            _keygen(folder / name)
        (folder / "authorized_keys").write_text((folder / "id.pub").read_text())
        host_key = (folder / "host_key.pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {host_key[0]} {host_key[1]}\n")
        (folder / "ssh_config").write_text(
            f"Host *\n  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile /dev/null\n  IdentitiesOnly yes\n"
            f"  IdentityFile {self.key}\n"
        )

    def configuration(self) -> str:
        """Return sshd's own configuration."""
        settings = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.folder / "host_key",
            "AuthorizedKeysFile": self.folder / "authorized_keys",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "MaxStartups": "100",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    @contextlib.contextmanager
    def running(self) -> Iterator[Sshd]:
        """Run it; its sessions end with their clients."""
        assert SSHD is not None
        if os.geteuid() == 0:  # its privilege separation folder, which an init script makes where one runs
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        (self.folder / "sshd_config").write_text(self.configuration())
        log = (self.folder / "sshd.log").open("w")
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", self.folder / "sshd_config"], stderr=log, stdout=log)
        try:
            _wait_for_port(self.port, server)
            yield self
        finally:
            server.terminate()
            server.wait(timeout=60)
            log.close()

    def host(self, agent: Agent, **more: object) -> dict[str, object]:
        """Return the inventory variables that reach an agent over this sshd."""
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": getpass.getuser(),
            "ansible_ssh_common_args": f"-F {self.folder / 'ssh_config'}",
            "rlfleet_root": str(agent.root),
            **more,
        }


def free_port() -> int:
    """Return a port on loopback on which nobody listens, and on which nobody will by chance.

    A socket without a listener refuses connections; a server that asks for the port by its number gets it nevertheless,
    if it sets SO_REUSEADDR, as sshd does.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    _PORTS.append(sock)
    return int(sock.getsockname()[1])


def gone(pid: int, timeout_s: float = 60.0) -> bool:
    """Say whether a process ends in time."""
    end = time.monotonic() + timeout_s
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _keygen(path: Path, words: Sequence[str] = ("-t", "ed25519", "-N", "", "-q")) -> None:
    subprocess.run(["ssh-keygen", *words, "-f", path], check=True)


def _wait_for_port(port: int, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError("sshd does not listen")
