"""Contenders as processes that are stopped (SIGSTOP) while others are measured, so that they can take turns."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
START_UP_S_MAX = 240.0
SLICE_S_MAX = 120.0
SETTLE_S = 1.0
"""Not measured after standing still: what fell due meanwhile (a checkpoint) is made up for first."""


class SilentError(Exception):
    """A contender ended or said nothing."""


class Contender:
    """A process in a session of its own, and what it has said of its progress: (time, steps), oldest first."""

    def __init__(self, command: list[str], folder: Path, threads: int, metrics: Path | None = None) -> None:
        self.said: list[tuple[float, int]] = []
        self._errors = folder / "errors.log"
        caps = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        environ = {name: value for name, value in os.environ.items() if not name.startswith("RLFLEET_")}
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, cwd=folder,
                env=environ | caps | {"PYTHONPATH": str(TESTS)}, start_new_session=True,
            )  # fmt: skip
        lines = self._lines() if metrics is None else self._follow(metrics)
        threading.Thread(target=self._listen, args=(lines,), daemon=True).start()

    def pause(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGCONT)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def rate_since(self, begin: float) -> tuple[float, float] | None:
        """Return steps per second since the first word after `begin`, and over how many seconds; None: not yet."""
        said = [(at, steps) for at, steps in self.said if at > begin]
        if len(said) < 2:
            return None
        span_s = said[-1][0] - said[0][0]
        return (said[-1][1] - said[0][1]) / span_s, span_s

    def fault(self) -> str:
        """Return the last line on its standard error."""
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self.process.poll()}"

    def _lines(self) -> Iterator[str]:
        yield from (line.decode(errors="replace") for line in self.process.stdout)

    def _follow(self, metrics: Path) -> Iterator[str]:
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        while not metrics.exists() and self.process.poll() is None:
            time.sleep(0.05)
        with contextlib.suppress(FileNotFoundError), metrics.open() as file:
            part = ""
            while self.process.poll() is None:
                part += file.readline()
                if part.endswith("\n"):
                    yield part
                    part = ""
                else:
                    time.sleep(0.02)

    def _listen(self, lines: Iterator[str]) -> None:
        for line in lines:
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if record.get("kind", "iteration") == "iteration":
                    self.said.append((record["time"], record["global_step"]))


def other(name: str, game: str, folder: Path, threads: int) -> Contender:
    """Start a contender of this folder's `__main__`."""
    return Contender([sys.executable, "-m", "contenders", name, game, str(threads)], folder, threads)


def ours(game: str, folder: Path, threads: int, *flags: str, device: str = "cpu") -> Contender:
    """Start `rltrain train`, as a user would."""
    command = [sys.executable, "-m", "rltrainer", "train", "--game", game, "--run-dir", str(folder / "run")]
    command += ["--device", device, "--threads", str(threads), "--target-frames", "4000000000", *flags]
    return Contender(command, folder, threads, folder / "run" / "metrics.jsonl")


def wait_ready(contenders: list[Contender]) -> list[float]:
    """Let contenders start up and say their first words, then stop them; nothing is measured. Raises SilentError."""
    _wait(contenders, lambda each: len(each.said) >= 2, START_UP_S_MAX)
    for each in contenders:
        each.pause()
    return []


def measure(contenders: list[Contender], slice_s: float) -> list[float]:
    """Let contenders run together for so long; returns the steps per second of each. Raises SilentError."""
    begin = time.time() + SETTLE_S
    for each in contenders:
        each.resume()
    try:
        _wait(contenders, lambda each: (each.rate_since(begin) or (0.0, 0.0))[1] >= slice_s, SLICE_S_MAX + slice_s)
        return [each.rate_since(begin)[0] for each in contenders]
    finally:
        for each in contenders:
            each.pause()


def _wait(contenders: list[Contender], done: Callable[[Contender], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not all(done(each) for each in contenders):
        for each in contenders:
            if each.process.poll() is not None:
                raise SilentError(each.fault())
        if time.monotonic() > deadline:
            raise SilentError(f"no word for {timeout_s:.0f} s")
        time.sleep(0.02)
