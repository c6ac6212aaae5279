"""What the playbooks see of a host, looked at on this one."""

import json
import os
import pwd
import socket
import subprocess
import sys
import threading
import time

import pytest

from playbook_runs import load

host = load("library/rlfleet_host.py")


def test_root_that_does_not_exist_yet_can_be_made(tmp_path):
    seen = host.describe_root(tmp_path / "a" / "b")
    expected = {"exists": False, "directory": False, "ours": False, "empty": False, "writable": True}
    assert {name: seen[name] for name in expected} == expected
    assert seen["owner"] == pwd.getpwuid(os.getuid()).pw_name
    assert seen["free_mib"] > 0


def test_root_is_ours_with_the_marker_and_foreign_without(tmp_path):
    assert host.describe_root(tmp_path)["empty"]
    (tmp_path / "something").touch()
    assert [host.describe_root(tmp_path)[name] for name in ("ours", "empty")] == [False, False]
    (tmp_path / ".rlfleet").touch()
    assert host.describe_root(tmp_path)["ours"]


def test_root_that_is_a_file_is_neither_ours_nor_writable(tmp_path):
    (tmp_path / "file").touch()
    seen = host.describe_root(tmp_path / "file")
    assert [seen[name] for name in ("exists", "directory", "ours", "writable")] == [True, False, False, False]


def test_only_completed_releases_count(tmp_path):
    for name in ("1-a", "2-b"):
        (tmp_path / name).mkdir()
    (tmp_path / "2-b" / ".complete").touch()
    assert host.complete_children(tmp_path) == ["2-b"]
    assert host.complete_children(tmp_path / "missing") == []


def test_python_tells_its_version_and_what_it_lacks():
    expected = {"version": f"3.{sys.version_info.minor}", "missing": ["no_such_module"], "fault": ""}
    assert host.ask_python(sys.executable, ["json", "no_such_module"]) == expected


@pytest.mark.parametrize(
    ("program", "expected"), [("/nowhere/python", "No such file or directory"), ("/bin/true", "it says nothing")]
)
def test_what_is_no_python_is_a_fault(program, expected):
    answer = host.ask_python(program, [])
    assert answer["version"] is None
    assert expected in answer["fault"]


def test_silent_agent_is_told_with_the_fault(tmp_path):
    (tmp_path / "agent.sock").touch()
    seen = host.ask_agent(tmp_path / "agent.sock", tmp_path, "rlfleet-agent")
    assert [seen["answers"], seen["pid"]] == [False, None]
    assert "refused" in seen["fault"]


def test_agent_below_a_long_path_answers(tmp_path):
    """The kernel's limit for a socket's name is 107 bytes, which a deep root folder exceeds."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{descriptor}/agent.sock")
        listener.listen()

        running = {"game": "Pong", "state": "RUNNING", "pid": 7, "global_step": 84, "sps": 9.7}
        waiting = {**running, "game": "Qbert", "sps": None}
        answers = {"ping": {"version": "1.2", "pid": os.getpid()}, "status": {"trainers": [running, waiting]}}

        def serve():
            for verb, result in answers.items():
                connection, _ = listener.accept()
                with connection, connection.makefile("rwb") as stream:
                    assert json.loads(stream.readline()) == {"verb": verb}
                    stream.write(json.dumps({"ok": True, "result": result}).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        seen = host.ask_agent(folder / "agent.sock", tmp_path, "rlfleet-agent")
        thread.join()
    os.close(descriptor)
    expected = {"answers": True, "pid": os.getpid(), "version": "1.2", "release": None, "in_unit": False, "fault": ""}
    assert seen == {**expected, "progressing": {"Pong": {"pid": 7, "global_step": 84}}}


@pytest.mark.slow
def test_an_agent_that_is_slow_to_answer_is_not_taken_for_a_silent_one(tmp_path):
    """Its host may be busy: a needless restart would follow."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as stream:
                stream.readline()
                time.sleep(8)
                stream.write(b'{"ok": true, "result": {}}\n')

        thread = threading.Thread(target=serve)
        thread.start()
        assert json.loads(host.ask(tmp_path / "s", "ping"))["ok"]
        thread.join()


def test_release_of_a_process_is_that_of_its_interpreter(tmp_path):
    """The shell wrapper and the shebang lead to the interpreter inside the release, whatever `current` says."""
    interpreter = tmp_path / "releases" / "0.1.0-abc" / "agent" / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.symlink_to(sys.executable)
    with subprocess.Popen([interpreter, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        assert host.release_of(process.pid, tmp_path / "releases") == "0.1.0-abc"
        assert host.release_of(process.pid, tmp_path / "elsewhere") is None
        process.stdin.close()


def test_trainers_are_found_by_their_run_directory(tmp_path):
    env = {**os.environ, "RLFLEET_RUN_DIR": f"{tmp_path}/runs/Pong"}
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1, env=env
    ) as process:
        process.stdout.readline()
        assert host.trainers_of(tmp_path) == [process.pid]
        assert host.trainers_of(tmp_path / "runs" / "Pon") == []
        process.stdin.close()


def test_root_of_a_unit_is_read_from_its_command(tmp_path):
    unit = tmp_path / "rlfleet-agent.service"
    unit.write_text("[Service]\nUser=x\nExecStart=/opt/rlfleet/bin/rlagent run\n")
    assert host.root_of_unit(unit) == "/opt/rlfleet"
    assert host.root_of_unit(tmp_path / "missing.service") is None


def now(*trainers, games=(), **changes):
    """Return a status: trainers are (game, state, pid, step, sps)."""
    fields = ("game", "state", "pid", "global_step", "sps")
    running = [dict(zip(fields, trainer, strict=True)) for trainer in trainers]
    known = [*running, *({"game": game, "state": state} for game, state in games)]
    return {"trainers": running, "games": known, "changing_to": None, "stopped": False, **changes}


BEFORE = {"Pong": {"pid": 7, "global_step": 84}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (now(("Pong", "RUNNING", 7, 85, 9.0)), ""),
        (now(("Pong", "RUNNING", 7, 84, 9.0)), "trainer Pong (process 7) takes no steps any more: it stands at 84"),
        (now(("Pong", "RUNNING", 9, 60, 9.0)), ""),
        (now(("Pong", "RUNNING", 9, 60, None)), "trainer Pong made progress before and does not now: it is RUNNING"),
        (now(("Pong", "BACKOFF", None, 84, None)), "trainer Pong made progress before and does not now: it is BACKOFF"),
        (now(games=[("Pong", "FATAL")]), "trainer Pong made progress before and does not now: it is FATAL"),
        (now(games=[("Pong", "EXITED")]), ""),
        (now(), ""),
        (now(stopped=True, games=[("Pong", "FATAL")]), ""),
        (now(("Pong", "RUNNING", 7, 85, 9.0), changing_to="light"), "the agent is still changing to mode light"),
        ({}, "the agent stopped answering"),
    ],
    ids=["goes on", "stands", "new process", "new, no step yet", "waits", "given up", "done", "removed", "stopped",
         "changing", "silent"],
)  # fmt: skip
def test_trainers_that_made_progress_must_do_so_again(status, expected):
    assert host.fault_of_trainers(BEFORE, status) == expected


def make_release(root, name, environment="env1", **files):
    folder = root / "releases" / name
    (folder / "bin").mkdir(parents=True)
    (root / "trainer-envs" / environment).mkdir(parents=True, exist_ok=True)
    (folder / ".complete").touch()
    (folder / ".trainer-env").write_text(f"{environment}\n")
    for file, content in files.items():
        (folder / f".{file.replace('_', '-')}").write_text(content)


def test_only_what_nobody_uses_or_may_go_back_to_is_superfluous(tmp_path):
    make_release(tmp_path, "1-oldest", "env0")
    make_release(tmp_path, "2-used", "env2")
    make_release(tmp_path, "3-before")
    make_release(tmp_path, "4-current", previous="3-before\n")
    (tmp_path / "releases" / "5-half-built").mkdir()
    (tmp_path / "current").symlink_to("releases/4-current")
    words = [sys.executable, "-c", "print(flush=True); input()", str(tmp_path / "releases/2-used/lib")]
    with subprocess.Popen(words, stdin=-1, stdout=-1) as keeper:
        keeper.stdout.readline()
        assert host.superfluous(tmp_path) == ["releases/1-oldest", "releases/5-half-built", "trainer-envs/env0"]
        keeper.stdin.close()
    assert "releases/2-used" in host.superfluous(tmp_path)
    (tmp_path / ".switch").write_text('{"kind": "deploy", "from": "1-oldest", "to": "4-current"}')
    assert "releases/1-oldest" not in host.superfluous(tmp_path)


def test_the_release_that_was_rolled_back_is_kept(tmp_path):
    make_release(tmp_path, "1", rolled_back="2\n")
    make_release(tmp_path, "2", previous="1\n")
    (tmp_path / "current").symlink_to("releases/1")
    assert host.superfluous(tmp_path) == []
    assert host.previous_release(tmp_path) is None


def test_a_switch_record_that_a_power_cut_spoiled_is_none(tmp_path):
    for content in ("", "{", "[]"):
        (tmp_path / ".switch").write_text(content)
        assert host.interrupted_switch(tmp_path) == {}


def test_rc_local_counts_only_where_a_sysv_init_runs_it(tmp_path):
    for file in ("proc/1/comm", "etc/inittab", "etc/rc.local"):
        assert not host.runs_rc_local(tmp_path)
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("init\n")
    assert host.runs_rc_local(tmp_path)
    (tmp_path / "proc/1/comm").write_text("systemd\n")
    assert not host.runs_rc_local(tmp_path)
