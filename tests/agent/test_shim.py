"""The shim by itself, as a real process: what it starts, records, survives and leaves behind."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rlagent import shim
from supervisor_runs import wait_for

SH = ("/bin/sh", "-c")


class Shim:
    """One shim in a folder of its own."""

    def __init__(self, folder: Path, command, **changes) -> None:
        self.folder, self.log = folder, folder / "Pong.log"
        spec = {
            "attempt_id": "host:Pong:1",
            "boot": "boot/1",
            "command": list(command),
            "env": {"PATH": os.environ["PATH"], "RLFLEET_ATTEMPT_ID": "host:Pong:1"},
            "run_dir": str(folder),
            "log_path": str(self.log),
            "log_bytes_max": 1 << 20,
            "log_files_kept": 3,
            **changes,
        }
        (folder / "launch.json").write_text(json.dumps(spec))
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", shim.__file__, folder / "launch.json", str(lock)],
            pass_fds=(lock,),
            start_new_session=True,
            cwd=folder,
        )
        os.close(lock)

    def attempt(self) -> dict:
        """Wait until the trainer runs."""
        return self._record("attempt.json")

    def exit(self) -> dict:
        """Wait until the shim has ended and return what it recorded."""
        assert self.process.wait(60) == 0
        return self._record("exit.json")

    def _record(self, name: str) -> dict:
        wait_for((self.folder / name).exists)
        return json.loads((self.folder / name).read_text())

    def locked(self) -> bool:
        lock = os.open(self.folder / "lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def close(self) -> None:
        """Kill everything of it."""
        session = [p for p in psutil.process_iter() if session_of(p) == self.process.pid]
        for process in session:
            process.kill()
        self.process.kill()
        self.process.wait()


def session_of(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def keep(tmp_path):
    """Start shims; whatever they leave is killed at the end."""
    shims = []

    def start(*command, **changes) -> Shim:
        folder = tmp_path / f"run{len(shims)}"
        folder.mkdir()
        shims.append(Shim(folder, command, **changes))
        return shims[-1]

    yield start
    for one in shims:
        one.close()


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [("exit 0", 0, None), ("exit 3", 3, None), ("kill -SEGV $$", None, 11), ("kill -KILL $$", None, 9)],
)
def test_records_how_the_trainer_ended(keep, script, code, number):
    one = keep(*SH, script)
    ended = one.exit()
    assert (ended["attempt_id"], ended["code"], ended["signal"]) == ("host:Pong:1", code, number)
    assert (ended["sigterm_seen"], ended["error"]) == (False, None)
    assert ended["max_rss_kib"] > 0
    assert abs(ended["ended_at"] - time.time()) < 60
    assert one.locked() is False


def test_records_who_runs_by_pid_and_start(keep):
    one = keep("sleep", "600")
    attempt = one.attempt()
    assert attempt["shim_pid"] == one.process.pid
    assert (attempt["attempt_id"], attempt["boot"]) == ("host:Pong:1", "boot/1")
    ticks = os.sysconf("SC_CLK_TCK")
    for who in ("shim", "trainer"):
        started = psutil.Process(attempt[f"{who}_pid"]).create_time() - psutil.boot_time()
        assert attempt[f"{who}_ticks"] / ticks == pytest.approx(started, abs=2)
    assert psutil.Process(attempt["trainer_pid"]).cmdline() == ["sleep", "600"]


def test_the_trainer_has_its_own_group_default_signals_no_stdin_and_no_lock(keep):
    code = (
        "import os, signal; "
        "print([n for n in signal.valid_signals() if n not in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT)"
        " and signal.getsignal(n) not in (signal.SIG_DFL, None)]); "
        "print(open('/proc/self/status').read().split('SigBlk:')[1].split()[0]); "
        "print(os.getpgid(0) == os.getpid(), os.getsid(0) == os.getppid()); "
        "print(repr(os.read(0, 1)), sorted(os.readlink(f'/proc/self/fd/{n}').split(':')[0]"
        " for n in os.listdir('/proc/self/fd') if n in '012')); "
        "print([n for n in os.listdir('/proc/self/fd') if int(n) > 2 and os.path.exists(f'/proc/self/fd/{n}')])"
    )
    one = keep(sys.executable, "-c", code)
    one.exit()
    assert one.log.read_text().splitlines() == [
        "[]",
        "0000000000000000",
        "True True",
        "b'' ['/dev/null', 'pipe', 'pipe']",
        "[]",
    ]
    ignored = keep("/bin/sh", "-c", "grep SigIgn /proc/self/status")
    ignored.exit()
    # 32 and 33 belong to the C library and can't be reset; some machines start everything with them ignored.
    assert int(ignored.log.read_text().split()[1], 16) & ~(0b11 << 31) == 0


def test_outlives_the_end_of_its_session_and_remembers_sigterm(keep):
    one = keep("sleep", "600")
    trainer = one.attempt()["trainer_pid"]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        one.process.send_signal(number)
    time.sleep(0.2)
    assert (one.process.poll(), one.locked()) == (None, True)
    os.kill(trainer, signal.SIGKILL)
    ended = one.exit()
    assert (ended["signal"], ended["sigterm_seen"]) == (9, True)


@pytest.mark.parametrize(
    ("program", "code", "reason"),
    [
        ("/no/such/trainer", 127, "No such file or directory"),
        ("no-such-trainer", 127, "No such file or directory"),
        ("/etc/passwd", 126, "Permission denied"),
        ("/", 126, "Permission denied"),
        ("bad\0name", 126, "embedded null byte"),
    ],
)
def test_a_command_that_can_not_be_run_is_said(keep, program, code, reason):
    one = keep(program)
    ended = one.exit()
    assert (ended["code"], ended["signal"], ended["error"]) == (code, None, f"can't run {program}: {reason}")
    assert one.log.read_text() == f"can't run {program}: {reason}\n"


def test_a_shortage_of_processes_is_told_from_a_wrong_command():
    log = shim.Log("/dev/null", 1, 1)
    ended = shim.not_run("python", OSError(errno.EAGAIN, "Resource temporarily unavailable"), log)
    assert ended["code"] == shim.KEEPER_FAILED


def test_a_failure_of_the_keeper_itself_is_recorded(keep):
    ended = keep("sleep", "600", env=None).exit()
    assert ended["code"] == 125
    assert ended["error"].startswith("the keeper failed: ")


def test_orphans_in_other_groups_die_with_the_trainer_and_do_not_delay_its_end(keep):
    """Grandchildren that ignore SIGTERM, left their process group and keep the output open."""
    fork = "(trap '' TERM HUP; sleep 600) &"
    script = f"{fork} echo $!; {fork} echo $!; touch forked; sleep 600"
    code = f"import os; os.setpgid(0, 0); os.execv('/bin/sh', ['sh', '-c', {script!r}])"
    wait = "while [ ! -e forked ]; do sleep 0.01; done"
    one = keep("/bin/sh", "-c", f'{fork} echo $!; "{sys.executable}" -c "$CODE" & {wait}; exit 4',
               env={"PATH": os.environ["PATH"], "CODE": code})  # fmt: skip
    assert one.exit()["code"] == 4
    orphans = [int(line) for line in one.log.read_text().split()]
    assert len(orphans) == 3
    wait_for(lambda: all(gone(pid) for pid in orphans))


def test_an_orphan_in_a_session_of_its_own_that_floods_the_output_does_not_delay_the_end(keep):
    """The shim can't kill it (the supervisor does), and must not wait for it or copy its output for ever."""
    one = keep(*SH, "setsid sh -c 'echo $$ > orphan; exec yes flood' & while [ ! -s orphan ]; do :; done; exit 4")
    ended = one.exit()  # it comes although the flood never ends
    orphan = int((one.folder / "orphan").read_text())
    with contextlib.suppress(ProcessLookupError):
        os.kill(orphan, signal.SIGKILL)
    assert ended["code"] == 4


def test_a_log_that_can_not_be_written_never_blocks_the_trainer(keep, tmp_path):
    """A file in the folder's place refuses root as well."""
    (tmp_path / "logs").write_text("")
    one = keep(*SH, "yes x | head -c 5000000; exit 4", log_path=str(tmp_path / "logs" / "Pong.log"))
    assert one.exit()["code"] == 4


def test_a_trainer_that_closes_its_output_is_still_waited_for(keep):
    one = keep(*SH, "exec >/dev/null 2>&1; sleep 0.5; exit 7")
    before = psutil.Process(one.process.pid)
    one.attempt()
    assert one.exit()["code"] == 7
    assert before.pid == one.process.pid


def test_waiting_costs_no_processor_time(keep):
    one = keep(*SH, "exec >/dev/null 2>&1; sleep 600")
    one.attempt()
    process = psutil.Process(one.process.pid)

    def spent():
        return process.cpu_times(), process.num_ctx_switches().voluntary

    def has_slept_for_a_while() -> bool:
        """Not at once: it still closes the trainer's output."""
        before = spent()
        time.sleep(3)
        return spent() == before

    wait_for(has_slept_for_a_while)


def test_is_small(keep):
    one = keep("sleep", "600")
    one.attempt()
    assert psutil.Process(one.process.pid).memory_info().rss < 16 * 2**20


def test_waits_with_the_exit_record_until_the_disk_takes_it(keep):
    """A folder in the record's place refuses it as a full disk would; the lock is held all the while."""
    one = keep(*SH, "while [ ! -e exit.json/x ]; do sleep 0.01; done; exit 5")
    trainer = one.attempt()["trainer_pid"]
    (one.folder / "exit.json").mkdir()
    (one.folder / "exit.json" / "x").touch()
    wait_for(lambda: gone(trainer))
    time.sleep(0.3)
    assert (one.process.poll(), one.locked()) == (None, True)
    shutil.rmtree(one.folder / "exit.json")
    assert one.exit()["code"] == 5


def test_gives_up_when_the_run_was_deleted(keep):
    one = keep("sleep", "600")
    trainer = one.attempt()["trainer_pid"]
    shutil.rmtree(one.folder)
    os.kill(trainer, signal.SIGKILL)
    assert one.process.wait(60) == 0
    assert not one.folder.exists()


def test_an_attempt_record_that_can_not_be_written_does_not_keep_the_trainer_from_running(tmp_path, keep):
    (tmp_path / "run0").mkdir()
    (tmp_path / "run0" / "attempt.json").mkdir()
    (tmp_path / "run0" / "attempt.json" / "x").touch()
    (tmp_path / "run0").rename(tmp_path / "kept")
    one = keep(*SH, "while [ ! -d ../kept/attempt.json ]; do :; done; exit 6", run_dir=str(tmp_path / "kept"))
    assert one.process.wait(60) == 0
    assert json.loads((tmp_path / "kept" / "exit.json").read_text())["code"] == 6


def test_bytes_that_are_no_text_reach_the_trainer_unchanged(keep):
    one = keep(*SH, 'printf "%s" "$ODD" | od -An -tx1', env={"PATH": os.environ["PATH"], "ODD": "caf\udce9"})
    assert one.exit()["code"] == 0
    assert one.log.read_text().split() == ["63", "61", "66", "e9"]


@pytest.mark.parametrize(("inherited", "expected"), [("-500\n", "0\n"), ("0\n", "0\n"), ("300\n", "300\n"), ("", "")])
def test_protection_from_the_memory_killer_is_given_up_and_nothing_else(tmp_path, monkeypatch, inherited, expected):
    score = tmp_path / "oom_score_adj"
    score.write_text(inherited)
    monkeypatch.setattr(shim, "OOM_SCORE_ADJ", str(score))
    shim.give_up_protection()
    assert score.read_text().split() == expected.split()
