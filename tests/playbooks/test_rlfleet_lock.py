"""The deploy lock: one run at a time on a host, and nobody locked out by the dead."""

import json
import os
import subprocess
import sys

import pytest

from playbook_runs import load

lock = load("library/rlfleet_lock.py")
plugin = load("action_plugins/rlfleet_lock.py")

ALICE = {"run": "a/1", "who": "alice@laptop", "pid": 1}
BOB = {"run": "b/2", "who": "bob@desk", "pid": 2}


def test_a_second_run_is_told_who_holds_it_until_it_is_given_back(tmp_path):
    assert lock.take(tmp_path, ALICE, "") is None
    assert lock.take(tmp_path, ALICE, "") is None
    held = lock.take(tmp_path, BOB, "")
    assert (held["who"], held["age_s"] < 60) == ("alice@laptop", True)
    assert not lock.give_back(tmp_path, BOB["run"])
    assert lock.give_back(tmp_path, ALICE["run"])
    assert lock.take(tmp_path, BOB, "") is None


def test_only_the_dead_run_itself_is_replaced(tmp_path):
    """Two may find the same dead lock: the second must not take it from the first."""
    lock.take(tmp_path, ALICE, "")
    assert lock.take(tmp_path, BOB, ALICE["run"]) is None
    third = {**BOB, "run": "c/3"}
    assert lock.take(tmp_path, third, ALICE["run"])["run"] == BOB["run"]


def test_a_dry_run_takes_nothing(tmp_path):
    assert lock.take(tmp_path, ALICE, "", dry=True) is None
    assert lock.look(tmp_path) is None


def test_a_lock_that_a_power_cut_spoiled_is_none(tmp_path):
    for content in ("", "{", "[]", '{"who": "x"}'):
        (tmp_path / ".deploy-lock").write_text(content)
        assert lock.look(tmp_path) is None


def held_by(process, **changes):
    where = plugin.here()
    return {"who": "a@b", "pid": process.pid, "started": plugin.started(process.pid), "age_s": 5, **where, **changes}


@pytest.fixture
def process():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, stderr=-1) as running:
        yield running
        running.kill()


def test_a_living_run_of_this_controller_is_alive_however_old_and_a_dead_one_dead_at_once(process):
    held = held_by(process, age_s=10**6)
    assert plugin.dead(held, 60, plugin.here()) is None
    process.kill()
    process.wait()
    assert plugin.dead(held, 60, plugin.here()) == "that run has ended without giving it back"


def test_a_number_that_another_process_has_now_is_a_dead_run(process):
    held = held_by(process, started="1")
    assert plugin.dead(held, 60, plugin.here()) == "that run has ended without giving it back"


def test_a_run_from_before_the_controllers_reboot_is_dead(process):
    assert plugin.dead(held_by(process, boot="x"), 60, plugin.here()) == "that controller has rebooted since"


@pytest.mark.parametrize(("age_s", "expected"), [(59, None), (180, "no sign of life for 3 min")])
def test_another_controllers_run_is_judged_by_its_age(process, age_s, expected):
    assert plugin.dead(held_by(process, machine="other", age_s=age_s), 60, plugin.here()) == expected


def test_the_holder_is_the_process_that_forked_this_one():
    code = f"import os, sys; sys.path[:] = {sys.path!r}; from playbook_runs import load; import json; "
    code += "print(json.dumps(load('action_plugins/rlfleet_lock.py').holder()))"
    seen = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert (seen["pid"], seen["started"]) == (os.getpid(), plugin.started(os.getpid()))
