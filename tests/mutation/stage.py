"""A copy of the checkout with an environment of its own, in which one mutant at a time is tried.

Tests start many programs, some with an empty environment, so the copy has its own interpreter whose site-packages name
the copy's packages first and then the real environment's. Nothing outside the copy and a folder below /tmp is written.
Where the machine allows it, tests run in a PID namespace: a mutant that signals the wrong process reaches none outside.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mutation.reaper import TIMED_OUT

ROOT = Path(__file__).resolve().parents[2]
REAPER = Path(__file__).with_name("reaper.py")
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
NO_SUCH_TEST, NO_TESTS = 4, 5
"""Pytest's exit codes when it was asked for what there is not, and when it has nothing to run."""
ONE_TEST_S = 120
"""A test that takes longer has noticed something."""
TIME, UNKNOWN = "time", "unknown"
"""What noticed a mutant, when no test did: it took too long, or the test run itself broke."""


_running: set[subprocess.Popen] = set()
_ending = threading.Event()


@dataclass(frozen=True)
class Outcome:
    """What the tests said."""

    code: int
    """Pytest's exit code, or the reaper's."""
    seconds: float
    output: str

    @property
    def passed(self) -> bool:
        """Whether no test failed."""
        return self.code in (0, NO_TESTS)

    @property
    def timed_out(self) -> bool:
        """Whether they were ended for taking too long."""
        return self.code == TIMED_OUT

    @property
    def failed(self) -> bool:
        """Whether a test failed: nothing else, such as a test that does not exist."""
        return not self.passed and self.code != NO_SUCH_TEST

    @property
    def noticed_by(self) -> str:
        """Return the first test that failed, without its parameters; its file, if it could not even be collected."""
        if self.timed_out:
            return TIME
        found = re.search(r"^(?:FAILED|ERROR) (\S+?)(?:\[|$| )", self.output, re.MULTILINE)
        return found[1] if found else UNKNOWN


class Stage:
    """One copy, for one worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkout = folder / "checkout"
        self.python = folder / "venv" / "bin" / "python"
        self._originals: dict[str, str] = {}

    def build(self) -> None:
        """Copy what git knows of the checkout, changes included, and what it does not ignore."""
        shutil.rmtree(self.folder, ignore_errors=True)
        command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
        for name in filter(None, names):
            source, target = ROOT / name, self.checkout / name
            if source.exists() or source.is_symlink():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
        self._build_environment()

    def _build_environment(self) -> None:
        environment = self.folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        packages = sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)})
        # A .pth file inside the real site-packages is not read from here: that of the editable installation names the
        # real checkout.
        paths = [self.checkout / "agent", self.checkout / "ctl", sysconfig.get_path("purelib")]
        Path(packages, "stage.pth").write_text("\n".join(map(str, paths)) + "\n")
        for program in Path(sys.executable).parent.iterdir():
            target = self.python.parent / program.name
            if target.exists() or target.is_symlink():
                continue
            first, _, rest = program.read_bytes().partition(b"\n")
            if first.startswith(b"#!") and str(program.parent).encode() in first:
                target.write_bytes(b"#!" + os.fsencode(self.python) + b"\n" + rest)
                target.chmod(0o755)
            else:
                target.symlink_to(program)

    def source(self, module: str) -> str:
        """Return the text of a module as it was when the copy was made."""
        if module not in self._originals:
            self._originals[module] = self.path(module).read_text()
        return self._originals[module]

    def path(self, module: str) -> Path:
        """Return the file of a module in the copy."""
        return self.checkout / file_of(module)

    def try_out(self, tests: Iterable[str], timeout_s: float, *, module: str = "", text: str = "") -> Outcome:
        """Run tests, with a module's text replaced if one is given, and put it back."""
        if not module:
            return self._run_tests(tests, timeout_s)
        original = self.source(module)
        self._write(module, text)
        try:
            return self._run_tests(tests, timeout_s)
        finally:
            self._write(module, original)

    def _write(self, module: str, text: str) -> None:
        path = self.path(module)
        path.write_text(text)
        # Bytecode is compared by size and second: `<` and `>` of one second would be the same.
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()

    def _run_tests(self, tests: Iterable[str], timeout_s: float) -> Outcome:
        if _ending.is_set():
            raise InterruptedError
        begin = time.monotonic()
        # Short, as sockets have to fit into 108 characters.
        scratch = Path(tempfile.mkdtemp(prefix="m", dir="/tmp"))
        pytest = [self.python, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        pytest += [f"--timeout={ONE_TEST_S}", *tests]
        command = [*_namespace(), sys.executable, "-I", "-S", REAPER, str(timeout_s), *pytest]
        try:
            process = subprocess.Popen(
                list(map(str, command)), cwd=self.checkout, env=_environment(scratch), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            )  # fmt: skip
            _running.add(process)
            output, _ = process.communicate()
            _running.discard(process)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        seconds = time.monotonic() - begin
        return Outcome(process.returncode, seconds, output)


def end_all() -> None:
    """End the tests that run now, on every stage, and begin no others."""
    _ending.set()
    for process in list(_running):
        # unshare takes no SIGTERM while it waits, and its child goes with it.
        process.send_signal(signal.SIGKILL if _namespace() else signal.SIGTERM)


def file_of(module: str) -> Path:
    """Return the file of a module in a checkout: rlagent.journal is agent/rlagent/journal.py."""
    folder = "ctl" if module.startswith("rlctl.") else "agent"
    path = Path(folder, *module.split("."))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")


def _environment(scratch: Path) -> dict[str, str]:
    """Return this process's environment without what would lead to the real checkout or the user's home."""
    home = scratch / "home"
    home.mkdir()
    left_out = ("PYTHONPATH", "VIRTUAL_ENV", "PYTEST_", "RLFLEET_", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return kept | {"TMPDIR": str(scratch), "HOME": str(home)}


@cache
def _namespace() -> tuple[str, ...]:
    """Return the words before a command that give it processes of its own, if this machine lets us."""
    works = bool(shutil.which("unshare"))
    works = works and subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    if not works:
        print("no PID namespaces here (they need root): a mutant that signals wrong processes reaches this user's")
    return NAMESPACE if works else ()
