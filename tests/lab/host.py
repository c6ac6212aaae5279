"""One host of a lab: its power, ways into it, and what can befall it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from lab import cgroup, clock, disk, netns, nspawn
from lab.commands import LabError, completed
from lab.image import USER, USER_ID
from lab.link import Link
from lab.spec import Kind, Spec

_POWER_SUPPLY = Path(__file__).with_name("power.sh")
_FILLER = ".lab-filler"
UP_S = 180.0
"""For a host to boot, on a machine that is busy with other things."""
DOWN_S = 180.0
"""For systemd to end all: a service that does not end is killed after 90 s."""


class Host:
    """A host that can be started, reached and harmed. Times are in seconds; failures raise `LabError`.

    Args:
        namespace: The network namespace of its lab.
        folder: The folder of its lab.
        index: Its number there, from 0.
        spec: What it is like.
        controller: The control group of whatever is run in the lab, but not on a host.
    """

    def __init__(self, namespace: str, folder: Path, index: int, spec: Spec, controller: cgroup.Group) -> None:
        self.name = f"tnr-{index}"
        self.spec = spec
        self.address = netns.address(index)
        self.folder = folder / "hosts" / self.name
        self.network = Link(namespace, index, controller)
        self._index = index
        self._controller = controller
        self._lab_namespace = namespace
        self._namespace = f"{namespace}-{self.name}"
        self._group = cgroup.Group(f"{folder.name}/{self.name}")
        self._ssh_config = folder / "ssh" / "config"

    @property
    def kind(self) -> Kind:
        """Whether it is a VM or a container."""
        return self.spec.kind

    @property
    def root(self) -> Path:
        """Its root file system as this machine sees it, without what is mounted in it; there while it is off too."""
        return self.folder / "root"

    @property
    def console(self) -> Path:
        """What it printed while it booted."""
        return self.folder / "console.log"

    def create(self, image: Path, authorized_key: str) -> str:
        """Make its disk and its network, still without power; return the public key of its SSH server."""
        netns.create_host(self._lab_namespace, self._namespace, self._index)
        return disk.create(self.folder, image, self.name, authorized_key, self.spec)

    # Power

    def power_on(self, *, wait: bool = True) -> None:
        """Start it; does nothing if it runs."""
        if not self.running():
            self._group.create()
            environment = {"PATH": os.environ["PATH"], "ENTRANCES": " ".join(map(str, self._group.entrances))}
            command = ["/bin/sh", str(_POWER_SUPPLY), *self._nspawn()]
            with self.console.open("ab") as console:
                # A session of its own: Ctrl-C on a terminal is not a power cut.
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    env=environment,
                    start_new_session=True,
                )
            self._until(self.running, UP_S, "did not start")
        if wait:
            self.wait_up()

    def power_cut(self) -> None:
        """Kill all of it in one instant, as when the power fails; it stays off."""
        self._group.kill()

    def running(self) -> bool:
        """Tell whether it has power."""
        return bool(self._group.pids())

    def booted_at(self) -> float:
        """Return the machine's wall-clock time at which it was started."""
        began = Path(f"/proc/{self.leader()}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(began) / os.sysconf("SC_CLK_TCK")
        return time.time() - age_s

    def reboot(self, *, wait: bool = True) -> None:
        """Reboot as its kind does: `systemctl reboot` within, or a restart of the container by its provider."""
        before = self.leader()
        if self.kind == "container":
            self._stop_container()
            self.power_on(wait=wait)
            return
        self.inside("systemctl", "reboot", timeout=DOWN_S, check=False)  # it may be gone before it has answered
        # While it goes down it can still be logged in to.
        self._until(lambda: self._leader() != before, DOWN_S, "did not go down")
        if wait:
            self._until(lambda: self._leader() is not None, UP_S, "did not reboot")
            self.wait_up()

    def wait_up(self, timeout: float = UP_S) -> None:
        """Wait until its user can log in."""
        self._until(self.greets, timeout, "no SSH server answers")
        self._until(self._lets_in, timeout, "nobody can log in")

    # Ways in

    def greets(self, port: int = 22) -> bool:
        """Tell whether an SSH server speaks on a port."""
        with contextlib.suppress(OSError), netns.connect(self._lab_namespace, self.address, port, 5) as connection:
            return connection.recv(4) == b"SSH-"
        return False

    def ssh(self, command: str, *, check: bool = True, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """Run a shell command as its user, over SSH."""
        words = [*netns.inside(self._lab_namespace), "ssh", "-F", self._ssh_config, "-oBatchMode=yes", self.name]
        return completed(self._controller.entering(*words, command), timeout=timeout, check=check)

    def inside(self, *words: object, check: bool = True, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """Run a command as root from this machine: needs no network, counts as no contact."""
        enter = ["nsenter", f"--target={self.leader()}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        return completed(self._group.entering(*enter, "--", *words), timeout=timeout, check=check)

    def as_user(self, script: str, *, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """Run a shell script as its user, as over SSH, but without a contact."""
        user = ("setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups", "env", f"HOME=/home/{USER}")
        return self.inside(*user, "sh", "-c", script, timeout=timeout)

    def place(self, path: str) -> Path:
        """Return where this machine finds a file of the running host as the host sees it, with all that is mounted.

        No process is started, so that tests may look often. Absolute links in the path lead out of the host.
        """
        return Path(f"/proc/{self.leader()}/root") / path.lstrip("/")

    def read(self, path: str) -> str:
        """Return a file of the host as text; empty if there is none, or no power."""
        with contextlib.suppress(OSError, LabError):
            return self.place(path).read_text(encoding="utf-8", errors="replace")
        return ""

    def names(self, path: str) -> list[str]:
        """Return what is in a folder of the host, sorted; nothing if there is none, or no power."""
        with contextlib.suppress(OSError, LabError):
            return sorted(entry.name for entry in self.place(path).iterdir())
        return []

    def leader(self) -> int:
        """Return the process that is its PID 1, as this machine numbers it."""
        found = self._leader()
        if found is None:
            raise LabError(f"{self.name}: is off")
        return found

    # What can befall it; its network's faults are `network.cut()`, `.delay(milliseconds)`, `.restore()`

    def shift_clock(self, seconds: float) -> None:
        """Set its wall clock so far from the real one, at once and for good; needs `Spec(own_clock=True)`."""
        if not self.spec.own_clock:
            raise LabError(f"{self.name}: has no clock of its own; make it with Spec(own_clock=True)")
        clock.shift(self.root, seconds)

    def mount_small_disk(self, place: str, mebibytes: int) -> None:
        """Mount an empty small disk in the running host; a restart takes it away (unlike one of `Spec.disks`)."""
        self.inside("mkdir", "-p", place)
        self.inside("mount", "-t", "tmpfs", "-o", disk.small_disk_options(mebibytes), "lab-disk", place)

    def fill_disk(self, place: str) -> None:
        """Fill the small disk that a folder is on, to its last byte."""
        kind = self.inside("stat", "-f", "-c", "%T", place).stdout.strip()
        if kind != "tmpfs":
            raise LabError(f"{self.name}:{place}: on this machine's own disk ({kind}); give the host a small one there")
        self.inside("sh", "-c", 'cat /dev/zero > "$0" 2>/dev/null; true', f"{place}/{_FILLER}")

    def free_disk(self, place: str) -> None:
        """Give back what `fill_disk` took."""
        self.inside("rm", "-f", f"{place}/{_FILLER}")

    def _nspawn(self) -> list[str]:
        """Return the command that boots it."""
        network = netns.NAMED / self._namespace
        disks = [(disk.small_disk(self.folder, place), place) for place in self.spec.disks]
        words = nspawn.words(self.root, self._namespace, self.name, network, self.spec.binds, disks)
        return [*words, *(nspawn.SYSTEMD if self.kind == "vm" else nspawn.container(cron=self.spec.cron))]

    def _stop_container(self) -> None:
        """Do what container engines do: SIGTERM to the main process, and soon SIGKILL to all."""
        self.inside("kill", "-TERM", "2", check=False)
        with contextlib.suppress(LabError):
            self._until(lambda: not self.running(), 10, "did not stop")
        self._group.kill()

    def _leader(self) -> int | None:
        for pid in self._group.pids():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
                numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
                if len(numbers) > 1 and numbers[-1] == "1":
                    return pid
        return None

    def _lets_in(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.ssh("true", check=False).returncode == 0
        return False

    def _until(self, condition: Callable[[], bool], timeout: float, fault: str) -> None:
        """Wait until something holds; the error shows the end of the console."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                printed = self.console.read_text(errors="replace").splitlines()[-15:] if self.console.exists() else []
                raise LabError("\n".join([f"{self.name}: {fault} after {timeout:g} s ({self.console})", *printed]))
            time.sleep(0.1)
