"""Every fault with what follows from it: the table in README.md is printed from here, and the tests go by it."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from faults import inject
from faults.inject import YEAR_S, Inject


@dataclass(frozen=True)
class Fault:
    """One class of faults."""

    name: str
    what: str
    """What is done."""
    inject: Inject | None
    """None: only the tests do it."""
    incident: str | None
    """A regular expression for the incident's first symptom; None: no incident."""
    end: str
    """Where the host ends up."""
    message: str | None = None
    """A regular expression that appears in the history, the alerts or the trainer's log."""


RESUMES = "the trainer restarts from its newest checkpoint"
HUNG = r"trainer \w+ hung for [\d.]+ s"
OLDER = "the trainer resumes from the checkpoint before; the damaged one is in quarantine/"

FAULTS = (
    Fault("trainer-sigkill", "SIGKILL", inject.send(signal.SIGKILL), r"trainer \w+ SIGKILL", RESUMES),
    Fault("trainer-sigsegv", "SIGSEGV", inject.send(signal.SIGSEGV), r"trainer \w+ SIGSEGV", RESUMES),
    Fault("trainer-sigabrt", "SIGABRT", inject.send(signal.SIGABRT), r"trainer \w+ SIGABRT", RESUMES),
    Fault(
        "trainer-sigstop",
        "SIGSTOP",
        inject.send(signal.SIGSTOP),
        HUNG,
        f"after hang_timeout_s it is woken, told to end, killed; {RESUMES}",
    ),
    Fault(
        "exception",
        "a Python exception",
        inject.tell("exception"),
        r"trainer \w+ exit code 1: RuntimeError: injected fault: exception",
        RESUMES,
    ),
    Fault("gil-hang", "a hang that holds the GIL", inject.tell("gil-hang"), HUNG, f"killed; {RESUMES}"),
    Fault("env-hang", "a hang in the environment", inject.tell("env-hang"), HUNG, f"killed; {RESUMES}"),
    Fault(
        "oom",
        "a leak until the kernel kills it",
        inject.leak_until_killed,
        r"trainer \w+ killed by the kernel: out of memory",
        RESUMES,
    ),
    Fault(
        "exit-0",
        "exit code 0 before its target",
        inject.tell("exit-0"),
        r"trainer \w+ exit code 0 before its target",
        RESUMES,
    ),
    Fault(
        "orphans",
        "orphan grandchildren, then SIGKILL",
        inject.tell("orphans"),
        r"trainer \w+ SIGKILL",
        f"the orphans are killed before {RESUMES}",
    ),
    Fault(
        "log-flood",
        "1 GiB of output",
        inject.tell("log-flood 1024"),
        None,
        "training goes on; the log keeps its size (log_max_mib, log_keep)",
    ),
    Fault(
        "ignore-term",
        "a trainer that is deaf to SIGTERM",
        inject.tell("ignore-term"),
        None,
        "goes on; at the next stop it is killed after stop_timeout_s",
        r"stopped with SIGKILL",
    ),
    Fault(
        "checkpoint-corrupt",
        "newest checkpoint altered, then SIGKILL",
        inject.damage(inject.flip),
        r"trainer \w+ SIGKILL",
        OLDER,
        r"QUARANTINE: ckpt-\d+\.pt is damaged \(checksum differs\)",
    ),
    Fault(
        "checkpoint-truncated",
        "newest checkpoint cut off, then SIGKILL",
        inject.damage(inject.truncate),
        r"trainer \w+ SIGKILL",
        OLDER,
        r"QUARANTINE: ckpt-\d+\.pt is damaged \(\d+ bytes after the first line where \d+ were written\)",
    ),
    Fault(
        "checkpoint-empty",
        "newest checkpoint empty, then SIGKILL",
        inject.damage(inject.empty),
        r"trainer \w+ SIGKILL",
        OLDER,
        r"QUARANTINE: ckpt-\d+\.pt is damaged \(empty\)",
    ),
    Fault(
        "checkpoint-unwritable",
        "folder of checkpoints read-only",
        inject.read_only,
        None,
        "training goes on without new checkpoints; they come again when it can be written",
        r"checkpoint: FAILED at step \d+: Read-only file system; the older ones are kept",
    ),
    Fault(
        "disk-full",
        "disk full, for checkpoints and the journal",
        inject.fill_disk,
        None,
        "training goes on, also beyond the hang timeout; older checkpoints are kept; the agent decides nothing that it "
        "can't journal, until there is space",
        r"status files: .*No space left on device",
    ),
    Fault(
        "disk-full-exit",
        "disk full, and a trainer dies",
        None,
        r"trainer \w+ SIGKILL",
        "noticed at once (its shim keeps the record in memory); restarts as usual",
    ),
    Fault("nvml-missing", "no driver library", None, None, "no GPU readings", "no NVIDIA driver"),
    Fault(
        "nvml-hang",
        "the driver library hangs",
        inject.nvml(count="hang"),
        None,
        "the agent goes on; after 10 s no GPU readings",
        r"NVML has not answered for \d+ s",
    ),
    Fault(
        "nvml-raises",
        "the driver library fails",
        inject.nvml(count="error 999"),
        None,
        "no GPU readings until it answers again",
        "NVML: Unknown Error",
    ),
    Fault(
        "gpu-lost",
        "the driver has lost a GPU",
        inject.nvml(**{"utilization.0": "error 15"}),
        "GPU 0 lost",
        "counted once until it is back; trainers go on if they can",
    ),
    Fault("agent-sigkill", "SIGKILL to the agent", inject.kill_agent, None, "the next agent adopts the trainers"),
    Fault(
        "agent-sigstop",
        "SIGSTOP to the agent, longer than hang_timeout_s",
        inject.freeze_agent,
        None,
        "goes on; time in which it could not look is no silence of the trainers",
    ),
    Fault(
        "pid-reuse",
        "a reboot after which strangers have the old PIDs",
        None,
        "reboot",
        "strangers are left alone; trainers resume",
    ),
    Fault("clock-plus-1h", "wall clock +1 h", inject.shift_clock(3600), None, "nothing happens"),
    Fault("clock-minus-1h", "wall clock -1 h", inject.shift_clock(-3600), None, "nothing happens"),
    Fault("clock-plus-1y", "wall clock +1 year", inject.shift_clock(YEAR_S), None, "nothing happens"),
    Fault("clock-minus-1y", "wall clock -1 year", inject.shift_clock(-YEAR_S), None, "nothing happens"),
    Fault(
        "journal-damaged",
        "SIGKILL to the agent, the middle of the journal overwritten",
        inject.damage_journal,
        None,
        "the next agent keeps the damaged file beside (`journal.sqlite3.damaged-1`, an alert until it is moved away), "
        "rebuilds events and state, adopts the trainers",
        r"the journal was damaged: .*; \d+ events could be read, the state is from .*; the old file is kept as",
    ),
    Fault(
        "journal-lost",
        "SIGKILL to the agent, the journal removed",
        inject.lose_journal,
        None,
        "as above, from state.toml",
        r"the journal was missing, but state\.toml knows of event \d+; 0 events could be read, the state is from state",
    ),
)


def named(name: str) -> Fault:
    """Return a fault by name; raises KeyError."""
    return {fault.name: fault for fault in FAULTS}[name]


def table() -> str:
    """Return the documentation's table."""
    lines = [
        "| fault | what is done | incident | what follows | said in history, alerts or log |",
        "|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        incident = "none" if fault.incident is None else f"1: `{fault.incident}`"
        message = "" if fault.message is None else f"`{fault.message}`"
        star = "" if fault.inject else " (tests only)"
        lines.append(f"| `{fault.name}`{star} | {fault.what} | {incident} | {fault.end} | {message} |")
    return "\n".join(lines) + "\n"
