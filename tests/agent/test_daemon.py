"""The agent end to end: a real process, real trainers, real signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from rlagent import __version__
from rlagent.process import EXIT_ALREADY_RUNS
from rlagent.protocol import messages
from stubs.nvml.nvml_stub import GPU_IS_LOST, NvmlStub, build

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_starts_the_lowest_mode_and_its_trainers_take_steps(make_host):
    host = make_host().start()
    host.wait_running(2)
    first = host.steps()
    host.wait_for(lambda: all(host.steps()[game] > step for game, step in first.items()), "more steps")
    status = host.status()
    assert (status["mode"], list(host.pids())) == ("light", ["MsPacman", "Pong"])
    assert status["agent"]["version"] == __version__
    assert status["next_action"]["kind"] == "promote"


def test_promotes_then_four_kills_demote_with_the_reason(make_host):
    host = make_host(policy={"stable_minutes": 0.02, "window_minutes": 5, "cooldown_minutes": 5}).start()
    host.wait_for(lambda: host.status()["mode"] == "medium", "the promotion")
    for number in range(1, 5):
        pids = host.wait_running(4)
        began = time.time()  # a checkpoint from before the last crash is none
        host.wait_for(lambda since=began: _saved_since(host, "Pong", since), "a checkpoint")
        os.kill(pids["Pong"], signal.SIGKILL)
        host.wait_for(lambda n=number: host.status()["incidents_last_hour"] == n, f"incident {number}")
    host.wait_for(lambda: host.status()["mode"] == "light", "the demotion")
    host.wait_running(2)
    demotions = [text for text in host.decisions() if text.startswith("demote")]
    assert len(demotions) == 1
    assert "demote medium -> light: 4 incidents in 5 min (limit 3): trainer Pong SIGKILL" in demotions[0]
    state, refolded, _ = host.refold()
    assert state == refolded


def _saved_since(host, game: str, wall: float) -> bool:
    age_s = host.game(game)["checkpoint_age_s"]
    return age_s is not None and age_s < time.time() - wall


def test_a_killed_trainer_goes_on_from_its_checkpoint(make_host):
    host = make_host().start()
    pids = host.wait_running(2)
    host.wait_for(lambda: host.game("Pong")["global_step"] > 1500, "some steps")
    before = host.game("Pong")["global_step"]
    os.kill(pids["Pong"], signal.SIGKILL)
    host.wait_for(lambda: host.game("Pong")["attempt"] == 2 and host.game("Pong")["pid"], "the restart")
    host.wait_running(2)
    # At most one checkpoint interval (0.5 s) and one report (0.2 s) of 1000 steps/s are lost.
    assert host.game("Pong")["global_step"] >= before - 1000
    assert host.pids()["MsPacman"] == pids["MsPacman"]


def test_kill_9_of_the_agent_costs_no_trainer_no_step_and_no_incident(make_host):
    host = make_host().start()
    pids = host.wait_running(2)
    steps = host.steps()
    host.kill_agent()
    host.start()
    assert host.wait_running(2) == pids
    assert all(host.steps()[game] >= step for game, step in steps.items())
    assert host.status()["incidents_last_hour"] == 0
    adopted = [entry["summary"] for entry in host.history() if "adopted" in entry["summary"]]
    assert len(adopted) == 2
    assert sorted(host.trainer_processes()) == ["MsPacman", "Pong"]


def test_an_exit_while_the_agent_is_away_is_classified_when_it_is_back(make_host):
    host = make_host().start()
    pids = host.wait_running(2)
    host.kill_agent()
    os.kill(pids["Pong"], signal.SIGSEGV)
    host.start()
    host.wait_for(lambda: host.status()["incidents_last_hour"] == 1, "the incident")
    assert "trainer Pong SIGSEGV" in host.status()["incidents"][0]["what"]


def test_shutdown_and_start_keep_the_trainers(make_host):
    host = make_host().start()
    pids = host.wait_running(2)
    command = [sys.executable, "-m", "rlagent", "--config", str(host.config)]
    assert (
        subprocess.run([*command, "shutdown"], check=True, capture_output=True, text=True).stdout == "rlagent: ended\n"
    )
    assert host.process.wait(60) == 0
    host.start()
    assert host.wait_running(2) == pids


def test_stop_checkpoints_everything_and_start_goes_on(make_host):
    host = make_host().start()
    host.wait_running(2)
    assert host.call(messages.Stop(who="ana", why="night")).ok
    host.wait_stopped()
    assert host.call(messages.Stop(who="ana")).ok
    step = host.game("Pong")["global_step"]
    assert host.status()["stopped"] is True
    host.call(messages.Start(who="ana"))
    host.wait_running(2)
    assert host.game("Pong")["global_step"] >= step
    assert host.status()["incidents_last_hour"] == 0
    assert any("stop all trainers by ana (night)" in text for text in host.decisions())


def test_hold_goes_up_at_once_and_rollback_comes_down(make_host):
    host = make_host().start()
    host.wait_running(2)
    assert host.call(messages.Hold(mode="medium", who="ana")).ok
    host.wait_running(4)
    assert host.status()["hold"]["mode"] == "medium"
    assert host.call(messages.Rollback(who="ana", why="heat")).ok
    host.wait_running(2)
    refused = host.call(messages.Rollback(who="ana"))
    assert (refused.ok, refused.error.code) == (False, "refused")
    assert refused.error.message == "light is the lowest mode: there is nothing to roll back to"


def test_a_hang_is_noticed_killed_and_counted_once(make_host):
    host = make_host(program="misbehaving_trainer.py", supervisor={"hang_timeout_s": 10.0, "stop_timeout_s": 3.0})
    host.start().wait_running(2)
    misbehave = host.paths.run_dir("Pong") / "misbehave"
    misbehave.write_text("hang")
    host.wait_for(lambda: host.status()["incidents_last_hour"] == 1, "the incident")
    misbehave.unlink()
    host.wait_running(2)
    assert "trainer Pong hung for" in host.status()["incidents"][0]["what"]
    assert host.status()["incidents_last_hour"] == 1


def test_a_stubborn_trainer_is_killed_after_the_grace(make_host):
    host = make_host(program="misbehaving_trainer.py", supervisor={"stop_timeout_s": 0.5}).start()
    host.wait_running(2)
    for game in ("Pong", "MsPacman"):
        (host.paths.run_dir(game) / "misbehave").write_text("stubborn")
    steps = host.steps()
    host.wait_for(lambda: all(now > steps[game] + 400 for game, now in host.steps().items()), "the word to be read")
    host.call(messages.Stop())
    host.wait_stopped()
    assert host.status()["incidents_last_hour"] == 0


def test_a_wrong_configuration_is_fatal_and_the_next_game_takes_the_slot(make_host):
    host = make_host(program="misbehaving_trainer.py").start()
    host.wait_running(2)
    (host.paths.run_dir("Pong") / "misbehave").write_text("config")
    host.wait_for(lambda: host.game("Pong")["state"] == "FATAL", "the end of Pong")
    host.wait_running(2)
    assert list(host.states()) == ["MsPacman", "Breakout"]
    assert "exit code 78" in host.game("Pong")["last_error"]
    assert any("Pong is FATAL" in alert for alert in host.status()["alerts"])


def test_five_attempts_without_a_step_are_fatal_with_the_last_error(make_host):
    host = make_host(program="misbehaving_trainer.py")
    host.paths.run_dir("MsPacman").mkdir(parents=True)
    (host.paths.run_dir("MsPacman") / "misbehave").write_text("crash")
    host.start()
    host.wait_for(lambda: host.game("MsPacman")["state"] == "FATAL", "the end of MsPacman")
    game = host.game("MsPacman")
    assert game["attempt"] == 5
    assert "RuntimeError: misbehaving as told: crash" in game["last_error"]
    host.wait_running(2)


def test_a_command_that_does_not_exist_is_fatal_with_its_name(make_host):
    host = make_host(program="no_such_file")
    host.settings["trainer"]["command"] = ["/no/such/trainer"]
    host.write_config(host.settings)
    host.start()
    host.wait_for(lambda: host.game("MsPacman")["state"] == "FATAL", "the end of MsPacman")
    assert host.game("MsPacman")["last_error"].endswith("can't run /no/such/trainer: No such file or directory")


def test_games_are_done_at_their_target_and_the_next_ones_start(make_host):
    games = [{"name": name, "target_frames": 8000} for name in ("A", "B", "C")]
    host = make_host(games=games).start()
    host.wait_for(lambda: [g["state"] for g in host.status()["games"]] == ["EXITED"] * 3, "all games done")
    status = host.status()
    assert status["next_action"]["reason"] == "every game has reached its target"
    assert status["projection"]["hours_left"] == 0
    assert [game["progress"] for game in status["games"]] == [1.0, 1.0, 1.0]


def test_changed_settings_restart_only_what_they_concern(make_host):
    host = make_host().start()
    pids = host.wait_running(2)
    host.settings["policy"]["max_crashes"] = 7
    host.write_config(host.settings)
    assert host.end_agent() == 0
    host.start()
    assert host.wait_running(2) == pids
    host.settings["modes"][0]["num_envs"] = 16
    host.write_config(host.settings)
    host.end_agent()
    host.start()
    host.wait_for(
        lambda: host.pids().keys() == pids.keys() and not set(host.pids().values()) & set(pids.values()), "restarts"
    )
    assert host.status()["incidents_last_hour"] == 0


def test_files_for_people_and_tools(make_host):
    host = make_host().start()
    host.wait_running(2)
    host.wait_for(
        lambda: json.loads(host.paths.status_json.read_text())["trainers"][0]["state"] == "RUNNING", "status.json"
    )
    toml = tomllib.loads(host.paths.state_toml.read_text())
    assert toml["mode"] == "light"
    assert [game["game"] for game in toml["games"]] == ["MsPacman", "Pong", "Breakout", "Qbert", "Tennis"]
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (host.paths.state_dir, host.paths.socket)}
    assert modes == {"var": "0o700", "agent.sock": "0o600"}


def test_a_second_agent_is_refused(make_host):
    host = make_host().start()
    done = subprocess.run(
        [sys.executable, "-m", "rlagent", "--config", str(host.config), "run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == EXIT_ALREADY_RUNS
    assert "an agent already runs with" in done.stderr


def test_detach_returns_when_it_answers_and_says_why_it_can_not(make_host):
    host = make_host()
    command = [sys.executable, "-m", "rlagent", "--config", str(host.config), "run", "--detach"]
    try:
        first = subprocess.run(command, capture_output=True, text=True, check=False)
        assert first.stdout == "rlagent: running\n"
        again = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (again.returncode, again.stdout) == (0, "rlagent: already running\n")
    finally:
        subprocess.run([*command[:-2], "shutdown", "--stop-trainers"], check=False, capture_output=True)
    host.paths.journal.unlink()
    host.paths.journal.mkdir()
    broken = subprocess.run(command, capture_output=True, text=True, check=False)
    assert broken.returncode == 1
    assert "journal.sqlite3: can't open: unable to open database file" in broken.stderr


def test_a_journal_that_can_not_be_written_is_an_alert_and_trainers_go_on(make_host):
    """A limit on file sizes stands in for the full disk: write() fails in the same way."""
    host = make_host().start()
    pids = host.wait_running(2)
    size = host.paths.journal.with_name("journal.sqlite3-wal").stat().st_size
    subprocess.run(["prlimit", f"--pid={host.process.pid}", f"--fsize={size + 20_000}:unlimited"], check=True)
    host.wait_for(lambda: _fill_journal(host), "the journal to be full")
    host.wait_for(lambda: any("can't write" in alert for alert in host.status()["alerts"]), "the alert")
    assert host.pids() == pids
    subprocess.run(["prlimit", f"--pid={host.process.pid}", "--fsize=unlimited:unlimited"], check=True)
    host.wait_for(lambda: not host.status()["alerts"], "recovery")
    state, refolded, _ = host.refold()
    assert state == refolded


def _fill_journal(host) -> bool:
    reply = host.call(messages.Hold(mode="light", who="ana" * 500))
    return not reply.ok and reply.error.code == "internal"


def test_the_agent_stays_small_with_ten_trainers(make_host):
    games = [{"name": f"Game{n}", "target_frames": 40_000_000} for n in range(10)]
    modes = [{"name": "wide", "games": 10, "num_envs": 1, "batch_size": 4}]
    host = make_host(games=games, modes=modes).start()
    host.wait_running(10, timeout_s=180)
    assert host.status()["agent"]["rss_mib"] < 40


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare for a PID namespace"
)
def test_a_container_restart_is_one_incident_and_training_goes_on(make_host):
    """A new PID namespace is what a restarted container is: another PID 1, the same kernel, no trainer left."""
    host = make_host().start(prefix=("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"))
    host.wait_running(2)
    host.wait_for(lambda: host.game("Pong")["global_step"] > 1500, "some steps")
    step = host.game("Pong")["global_step"]
    host.kill_agent()
    host.wait_for(lambda: host.trainer_processes() == [], "the end of the container", status=False)
    host.start(prefix=("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"))
    host.wait_running(2)
    status = host.status()
    assert [(i["what"], i["open"]) for i in status["incidents"]] == [("reboot", False)]
    assert status["reboots_last_hour"] == 1
    assert host.game("Pong")["global_step"] >= step - 1000


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare for a mount namespace"
)
def test_a_boot_identity_that_changes_under_living_trainers_is_no_reboot(make_host):
    """A service manager's sandbox can show another boot id; processes can't survive a reboot, so there was none."""
    host = make_host().start()
    pids = host.wait_running(2)
    host.kill_agent()
    other = host.folder / "boot_id"
    other.write_text("00000000-0000-0000-0000-000000000000\n")
    bind = f'mount --bind {other} /proc/sys/kernel/random/boot_id && exec "$@"'
    host.start(prefix=("unshare", "--mount", "sh", "-c", bind, "sh"))
    assert host.wait_running(2) == pids
    assert host.status()["incidents_last_hour"] == 0


def test_shutdown_with_stop_trainers_lets_the_next_agent_start_them_again(make_host):
    host = make_host().start()
    pids = host.wait_running(2)
    command = [sys.executable, "-m", "rlagent", "--config", str(host.config), "shutdown", "--stop-trainers"]
    subprocess.run(command, check=True, capture_output=True)
    assert host.trainer_processes() == []
    host.start()
    assert not set(host.wait_running(2).values()) & set(pids.values())


def test_a_huge_hold_is_refused_and_kills_nobody(make_host):
    host = make_host().start()
    reply = host.call(messages.Hold(mode="light", for_s=1e12))
    assert (reply.ok, reply.error.code) == (False, "bad-request")
    host.wait_running(2)


def test_a_journal_that_was_moved_away_is_rebuilt_from_state_toml(make_host):
    host = make_host().start()
    pids = host.wait_running(2)
    host.wait_for(lambda: host.game("Pong")["global_step"] > 1500, "some steps")
    step = host.game("Pong")["global_step"]
    host.kill_agent()
    for path in host.paths.state_dir.glob("journal.sqlite3*"):
        path.rename(path.with_suffix(".away"))
    host.start()
    assert host.wait_running(2) == pids
    assert host.game("Pong")["global_step"] >= step
    assert host.trainer_processes() == ["MsPacman", "Pong"]
    assert host.game("Pong")["attempt"] == 1
    assert any(text.startswith("the journal was missing, but state.toml knows of event") for text in host.decisions())


def test_a_host_that_lost_its_journal_and_state_toml_begins_anew_and_never_repeats_an_attempt(make_host):
    host = make_host().start()
    host.wait_running(2)
    host.kill_agent()
    host.paths.state_toml.unlink()
    for path in host.paths.state_dir.glob("journal.sqlite3*"):
        path.unlink()
    host.start()
    host.wait_running(2)
    assert host.trainer_processes() == ["MsPacman", "Pong"]
    assert host.game("Pong")["attempt"] == 2


def test_a_run_folder_that_can_not_be_made_is_an_alert_until_it_can(make_host):
    host = make_host()
    host.paths.run_dir("Pong").parent.mkdir(parents=True)
    host.paths.run_dir("Pong").write_text("a file where the folder should be")
    host.start()
    host.wait_for(lambda: any("can't start Pong" in alert for alert in host.status()["alerts"]), "the alert")
    host.paths.run_dir("Pong").unlink()
    host.wait_running(2)
    assert host.status()["alerts"] == []


def test_a_game_that_comes_back_into_the_queue_is_not_mistaken_for_its_former_self(make_host):
    host = make_host().start()
    host.wait_running(2)
    games = host.settings["games"]
    for queue in ([g for g in games if g["name"] != "Pong"], games):
        host.settings["games"] = queue
        host.write_config(host.settings)
        host.end_agent()
        host.start()
        host.wait_running(2)
    assert list(host.pids()) == ["MsPacman", "Breakout"]
    host.call(messages.Stop())
    host.wait_stopped()
    host.call(messages.Start())
    host.wait_running(2)
    assert list(host.pids()) == ["MsPacman", "Pong"]
    assert host.game("Pong")["attempt"] == 2
    assert host.status()["incidents_last_hour"] == 0


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["check-config", "/no/such/file"], "/no/such/file: no such file (see "),
        (["call", "--timeout", "-1", "{}"], "'-1' is not a number of seconds above 0"),
        (["logs", "-n", "x"], "'x' is not a whole number"),
        (["--config", "~nosuchuser/x.toml", "status"], "~nosuchuser/x.toml: "),
        (["nonsense"], "invalid choice: 'nonsense'"),
    ],
)
def test_bad_usage_is_one_clear_error(arguments, fault):
    done = subprocess.run([sys.executable, "-m", "rlagent", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert fault in done.stderr
    assert "Traceback" not in done.stderr


def test_an_agent_that_does_not_run_is_said_with_the_next_step(make_host):
    host = make_host()
    command = [sys.executable, "-m", "rlagent", "--config", str(host.config)]
    done = subprocess.run([*command, "call", '{"verb": "status"}'], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["hint"]) == ("agent-not-running", "start it with: rlagent run --detach")


def test_a_relative_configuration_works_from_another_folder(make_host):
    host = make_host()
    command = [sys.executable, "-m", "rlagent", "--config", host.config.name, "run", "--detach"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=host.folder)
        assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(
            [*command[:-2], "shutdown", "--stop-trainers"], check=False, capture_output=True, cwd=host.folder
        )


def test_a_lost_gpu_is_one_incident_also_for_the_next_agent(make_host, tmp_path):
    """Through the real pynvml binding and a compiled stand-in for the driver's library."""
    (tmp_path / "nvml").mkdir()
    driver = NvmlStub(tmp_path / "nvml", build(tmp_path))
    driver.install()
    driver.say(count=1, name_0="NVIDIA A100", utilization_0=57)
    host = make_host()
    host.start(environment=driver.environment)
    host.wait_running(2)
    host.wait_for(lambda: [gpu["utilization_percent"] for gpu in host.status()["gpu"]] == [57], "a reading")
    driver.say(utilization_0=f"error {GPU_IS_LOST}")
    host.wait_for(lambda: host.status()["incidents_last_hour"] == 1, "the incident")
    host.wait_running(2)
    host.kill_agent()
    host.start(environment=driver.environment)
    host.wait_for(lambda: [gpu["error"] for gpu in host.status()["gpu"]] == ["GPU is lost"], "a reading")
    host.wait_running(2)
    host.wait_for(lambda: not any(i["open"] for i in host.status()["incidents"]), "the end of the incident")
    assert [i["what"] for i in host.status()["incidents"]] == ["GPU 0 lost"]
