"""How an exit is judged: a pure table."""

from __future__ import annotations

import signal

import pytest

from rlagent.supervisor import Evidence, ExitRecord, classify


def record(code=None, number=None, **more) -> ExitRecord:
    return ExitRecord(attempt_id="host:Pong:1", code=code, signal=number, **more)


HUNG = {"stopped_by_us": True, "killed_for_hang": True}
LOG = "RuntimeError: CUDA out of memory"


@pytest.mark.parametrize(
    ("ended", "evidence", "expected"),
    [
        # By itself, with exit code 0.
        (record(0), {}, ("done", "it ended by itself with exit code 0")),
        (record(0), {"finished": True}, ("done", "it reached its target")),
        (record(0), {"finished": False}, ("error", "exit code 0 before its target")),
        # Told to end by somebody else: no crash, and not done.
        (record(0, sigterm_seen=True), {"finished": False}, ("outside", "stopped by somebody else")),
        (record(0, sigterm_seen=True), {}, ("outside", "stopped by somebody else")),
        (record(0, sigterm_seen=True), {"finished": True}, ("done", "it reached its target")),
        (record(1, sigterm_seen=True), {}, ("outside", "stopped by somebody else: exit code 1")),
        (record(143), {}, ("outside", "stopped by somebody else: exit code 143")),
        (record(None, signal.SIGTERM), {}, ("outside", "stopped by somebody else: SIGTERM")),
        (record(None, signal.SIGKILL, sigterm_seen=True), {}, ("outside", "stopped by somebody else: SIGKILL")),
        (record(0), {"finished": False, "said_stopping": True}, ("outside", "stopped by somebody else")),
        (record(0), {"finished": True, "said_stopping": True}, ("done", "it reached its target")),
        (record(1), {"said_stopping": True, "last_line": LOG}, ("error", f"exit code 1: {LOG}")),
        # A crash stays a crash, whoever was told to end meanwhile.
        (record(None, signal.SIGSEGV, sigterm_seen=True), {}, ("signal", "SIGSEGV")),
        (record(1), {"last_line": LOG}, ("error", f"exit code 1: {LOG}")),
        (record(1), {}, ("error", "exit code 1")),
        (record(None, signal.SIGKILL), {"last_line": LOG}, ("signal", "SIGKILL")),
        (record(None, signal.SIGABRT, core=True), {}, ("signal", "SIGABRT (core dumped)")),
        (record(None, 40), {}, ("signal", "signal 40")),
        # Wrong configuration.
        (record(2), {"last_line": "unknown game"}, ("config", "exit code 2: unknown game")),
        (record(78), {}, ("config", "exit code 78")),
        (record(78, sigterm_seen=True), {}, ("config", "exit code 78")),
        (record(127, error="can't run x: No such file"), {}, ("config", "can't run x: No such file")),
        (record(126, error="can't run x: Permission denied"), {}, ("config", "can't run x: Permission denied")),
        (record(127), {}, ("error", "exit code 127")),
        # A moment's shortage is no wrong configuration.
        (record(125, error="can't run x: Cannot allocate"), {}, ("error", "can't run x: Cannot allocate")),
        # Killed for memory: only SIGKILL, and only with the kernel's word for it.
        (record(None, signal.SIGKILL), {"oom_killed": True}, ("oom", "killed by the kernel: out of memory")),
        (record(137), {"oom_killed": True}, ("oom", "killed by the kernel: out of memory")),
        (record(None, signal.SIGSEGV), {"oom_killed": True}, ("signal", "SIGSEGV")),
        (record(1), {"oom_killed": True}, ("error", "exit code 1")),
        # By us.
        (record(0), {"stopped_by_us": True}, ("stopped", "stopped")),
        (record(0), {"stopped_by_us": True, "finished": False}, ("stopped", "stopped")),
        (record(0), {"stopped_by_us": True, "finished": True}, ("done", "it reached its target")),
        (record(1), {"stopped_by_us": True}, ("stopped", "stopped with exit code 1")),
        (record(None, 9), {"stopped_by_us": True, "oom_killed": True}, ("stopped", "stopped with SIGKILL")),
        (record(2), {"stopped_by_us": True}, ("stopped", "stopped with exit code 2")),
        (record(None, signal.SIGKILL), HUNG, ("hang", "killed because it hung")),
        # Nobody knows.
        (None, {}, ("lost", "vanished: its keeper was killed, or the host went down")),
        (None, {"finished": True}, ("lost", "vanished: its keeper was killed, or the host went down")),
        (None, {"stopped_by_us": True}, ("stopped", "stopped; its keeper was gone")),
        (None, HUNG, ("hang", "killed because it hung")),
    ],
)  # fmt: skip
def test_an_exit_is_judged_by_its_record_and_the_evidence(ended, evidence, expected):
    assert classify(ended, Evidence(**evidence)) == expected
