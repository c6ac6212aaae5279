"""Which modules the sample is drawn from, and which tests are asked about each.

Quick tests are asked first, slow ones about what survives those. Left out: the policy (mutmut tries all of it), what
only renders text or reads a command line, the simulation (a model of the outside world), and rlagent.reboot, whose
mutants could reboot the machine that tries them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CRASH = "crash_consistency"
SUPERVISOR = "supervisor_moments supervisor_exits supervisor_full_disk supervisor_rest supervisor supervisor_stop"
UPDATE = "trainer_losses trainer_advantages trainer_update trainer_gradients trainer_learner"


class Asked(NamedTuple):
    """Names of test files, without `test_` and `.py`; a module's namesake need not be named."""

    quick: str
    slow: str = ""


TESTS = {
    "rlagent.client": Asked("server", "daemon revive"),
    "rlagent.clock": Asked("clock", "faults_agent"),
    "rlagent.commands": Asked("wishes", "sim_moments daemon"),
    "rlagent.config.parse": Asked("config"),
    "rlagent.config.rules": Asked("config"),
    "rlagent.config.schema": Asked("config guard", "daemon"),
    "rlagent.daemon": Asked("daemon_turns", "sim_moments daemon"),
    "rlagent.files": Asked("files probe_throughput", f"{CRASH} recovery daemon"),
    "rlagent.gpus": Asked("gpus", "daemon"),
    "rlagent.guard": Asked("guard", "sim_moments"),
    "rlagent.hands": Asked("gpus", "sim_moments daemon"),
    "rlagent.hindsight": Asked("replay"),
    "rlagent.history": Asked("journal", "daemon"),
    "rlagent.journal": Asked("journal wishes replay recovery", f"{CRASH} daemon"),
    "rlagent.launches": Asked("gpus", "sim_moments daemon"),
    "rlagent.logstream": Asked("logtail", "ctl_logs daemon"),
    "rlagent.logtail": Asked("logtail", "ctl_logs daemon"),
    "rlagent.lookout": Asked("guard gpus", "sim_moments daemon"),
    "rlagent.notify": Asked("notify", "sim_moments"),
    "rlagent.oom": Asked("oom", "faults_agent"),
    "rlagent.paths": Asked("probe_throughput gpus", "daemon"),
    "rlagent.probe.gpu": Asked("probe_gpu gpus"),
    "rlagent.probe.host": Asked("probe_host", "daemon"),
    "rlagent.probe.progress": Asked("probe_progress"),
    "rlagent.probe.throughput": Asked("probe_throughput", "sim_moments"),
    "rlagent.process": Asked("revive", "daemon"),
    "rlagent.protocol.checks": Asked("probe_progress server", "ctl_versions"),
    "rlagent.protocol.contract": Asked("supervisor", "trainer_foreign daemon"),
    "rlagent.protocol.extras": Asked("server replay", "ctl_versions daemon"),
    "rlagent.protocol.logs": Asked("logtail", "ctl_logs ctl_threads"),
    "rlagent.protocol.messages": Asked("wishes server replay", "ctl_versions ctl_control daemon"),
    "rlagent.protocol.progress": Asked("probe_progress probe_throughput", "trainer_reports trainer_foreign"),
    "rlagent.protocol.status": Asked("guard gpus", "ctl_status ctl_versions daemon"),
    "rlagent.publish": Asked("probe_throughput recovery", "daemon"),
    "rlagent.recovery": Asked("recovery", "daemon"),
    "rlagent.revive": Asked("revive"),
    "rlagent.salvage": Asked("recovery"),
    "rlagent.senses": Asked("probe_throughput", "sim_moments daemon"),
    "rlagent.server": Asked("server", "daemon"),
    "rlagent.shim": Asked("shim shim_log", f"{SUPERVISOR} {CRASH}"),
    "rlagent.statusview": Asked("gpus guard", "daemon"),
    "rlagent.summary": Asked("recovery", "daemon"),
    "rlagent.supervisor.core": Asked(SUPERVISOR, "supervisor_kills daemon"),
    "rlagent.supervisor.exits": Asked(SUPERVISOR),
    "rlagent.supervisor.keeper": Asked(SUPERVISOR, "supervisor_kills"),
    "rlagent.supervisor.model": Asked(SUPERVISOR, "sim_moments"),
    "rlagent.supervisor.procfs": Asked(f"probe_host {SUPERVISOR}"),
    "rlagent.supervisor.signals": Asked(SUPERVISOR),
    "rlagent.world": Asked("probe_throughput sim_moments", "daemon"),
    "rltrainer.adam": Asked("trainer_gradients trainer_update", "trainer_exact trainer_run"),
    "rltrainer.args": Asked("trainer_args trainer_cli", "trainer_process"),
    "rltrainer.atari.game": Asked("trainer_game trainer_rewards trainer_envs", "trainer_exact"),
    "rltrainer.atari.memory": Asked("trainer_pool trainer_envs", "trainer_exact"),
    "rltrainer.atari.messages": Asked("trainer_pool trainer_envs", "trainer_exact trainer_process"),
    "rltrainer.atari.pool": Asked("trainer_pool trainer_envs", "trainer_exact trainer_process"),
    "rltrainer.atari.resize": Asked("trainer_game trainer_envs"),
    "rltrainer.atari.rules": Asked("trainer_game trainer_rewards trainer_envs", "trainer_exact"),
    "rltrainer.atari.worker": Asked("trainer_pool trainer_envs", "trainer_exact trainer_process"),
    "rltrainer.atomic": Asked("trainer_files trainer_checkpoints", CRASH),
    "rltrainer.chance": Asked("trainer_chance", "trainer_exact"),
    "rltrainer.checkpoint_file": Asked("trainer_files trainer_checkpoints", f"{CRASH} trainer_exact trainer_run"),
    "rltrainer.checkpoint_store": Asked("trainer_files trainer_checkpoints", f"{CRASH} trainer_run trainer_process"),
    "rltrainer.checkpointer": Asked("trainer_checkpointer trainer_checkpoints", "trainer_run trainer_process"),
    "rltrainer.envs": Asked("trainer_rewards trainer_envs", "trainer_exact trainer_run"),
    "rltrainer.episode": Asked("trainer_films", "trainer_eval"),
    "rltrainer.evaluate": Asked("trainer_films", "trainer_eval"),
    "rltrainer.games": Asked("trainer_games", "trainer_run"),
    "rltrainer.launch": Asked("trainer_launch trainer_cli", "trainer_run trainer_process"),
    "rltrainer.learner": Asked("trainer_learner trainer_update trainer_gradients", "trainer_exact trainer_process"),
    "rltrainer.metrics_file": Asked("trainer_files trainer_reports trainer_metrics", "trainer_process"),
    "rltrainer.network": Asked("trainer_network trainer_update", "trainer_exact"),
    "rltrainer.ppo": Asked(UPDATE, "trainer_run trainer_exact"),
    "rltrainer.process": Asked("trainer_launch trainer_speed", "trainer_process"),
    "rltrainer.progress_file": Asked("trainer_files trainer_reports", f"{CRASH} trainer_process"),
    "rltrainer.report": Asked("trainer_reporter trainer_metrics trainer_reports", "trainer_run"),
    "rltrainer.rollout": Asked("trainer_rollout trainer_rewards", "trainer_exact trainer_run"),
    "rltrainer.rundir": Asked("trainer_files trainer_checkpoints", "trainer_run trainer_eval"),
    "rltrainer.signals": Asked("trainer_run", "trainer_lives trainer_process"),
    "rltrainer.snapshot": Asked("trainer_snapshot", "trainer_exact"),
    "rltrainer.tally": Asked("trainer_files trainer_reports trainer_checkpoints", CRASH),
    "rltrainer.train": Asked("trainer_run trainer_metrics", "trainer_exact trainer_process"),
    "rltrainer.verify": Asked("trainer_files trainer_checkpoints", "trainer_cli"),
    "rlctl.agent": Asked("ctl_answers", "ctl_versions ctl_control"),
    "rlctl.channel": Asked("ctl_answers ctl_feeds", "ctl_remote"),
    "rlctl.dial": Asked("ctl_ssh_limits", "ctl_remote"),
    "rlctl.durations": Asked("ctl_durations"),
    "rlctl.exits": Asked("ctl_deadlines ctl_fanout", "ctl_status ctl_control"),
    "rlctl.fanout": Asked("ctl_deadlines ctl_fanout", "ctl_status"),
    "rlctl.fleet": Asked("ctl_fleet", "ctl_identity ctl_control ctl_status"),
    "rlctl.health": Asked("ctl_answers", "ctl_status"),
    "rlctl.hostkeys": Asked("ctl_hostkeys", "ctl_remote"),
    "rlctl.hosts": Asked("ctl_answers ctl_inventory", "ctl_remote"),
    "rlctl.identity": Asked("ctl_identity"),
    "rlctl.inventory": Asked("ctl_inventory", "ctl_remembered ctl_command_line"),
    "rlctl.inventory_cache": Asked("ctl_memory ctl_remembered"),
    "rlctl.knownhosts": Asked("ctl_knownhosts ctl_hostkeys", "ctl_remote"),
    "rlctl.local": Asked("ctl_feeds", "ctl_control ctl_logs"),
    "rlctl.logfeed": Asked("ctl_feeds ctl_logs", "ctl_logs_ssh"),
    "rlctl.logfollow": Asked("ctl_follow", "ctl_logs ctl_logs_ssh"),
    "rlctl.proxy": Asked("ctl_ssh_limits", "ctl_remote"),
    "rlctl.reboots": Asked("ctl_reboot_steps", "ctl_reboot"),
    "rlctl.remembered": Asked("ctl_memory ctl_remembered"),
    "rlctl.remote": Asked("ctl_ssh_limits", "ctl_remote ctl_logs_ssh"),
    "rlctl.reorder": Asked("ctl_follow", "ctl_logs ctl_events"),
    "rlctl.skew": Asked("ctl_answers", "ctl_control ctl_logs"),
    "rlctl.sshaliases": Asked("ctl_memory", "ctl_doctor"),
    "rlctl.sshanswers": Asked("ctl_memory ctl_remembered", "ctl_remote"),
    "rlctl.sshauth": Asked("ctl_keys", "ctl_remote"),
    "rlctl.sshconfig": Asked("ctl_memory ctl_remembered ctl_ssh_limits ctl_hostkeys ctl_keys", "ctl_remote"),
    "rlctl.sshfaults": Asked("ctl_ssh_limits ctl_hostkeys ctl_keys", "ctl_remote"),
    "rlctl.transport": Asked("ctl_hostkeys ctl_ssh_limits", "ctl_remote"),
    "rlctl.wishes": Asked("ctl_fleet", "ctl_control ctl_reboot"),
}


def select(words: Iterable[str]) -> list[str]:
    """Return the modules that words name: dotted, or the beginning or the end of a dotted name; all without words.

    Raises KeyError with a word that names none.
    """
    chosen = []
    for word in words:
        found = [name for name in TESTS if f".{name}.".find(f".{word}.") >= 0]
        if not found:
            raise KeyError(word)
        chosen += [name for name in found if name not in chosen]
    return chosen or list(TESTS)


def quick(module: str) -> list[str]:
    """Return the test files that are asked first, as paths in a checkout: its namesake, then those of the table."""
    *packages, name = module.split(".")
    words = [{"rltrainer": "trainer", "rlctl": "ctl"}.get(package, package) for package in packages]
    namesake = "_".join([*(word for word in words if word not in ("rlagent", "atari")), name])
    return _paths(f"{namesake} {TESTS[module].quick}")


def slow(module: str) -> list[str]:
    """Return the test files that are asked about what the quick ones did not notice."""
    return [path for path in _paths(TESTS[module].slow) if path not in quick(module)]


def missing(module: str) -> list[str]:
    """Return the names in the table that are no test file."""
    return [name for name in " ".join(TESTS[module]).split() if name not in _files()]


def _paths(names: str) -> list[str]:
    return list(dict.fromkeys(_files()[name] for name in names.split() if name in _files()))


@cache
def _files() -> dict[str, str]:
    found = (path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py"))
    return {path.stem.removeprefix("test_"): str(path) for path in found}
