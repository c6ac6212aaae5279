"""A dead agent is brought back by whoever calls, where a deployment says how; by real processes."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import types

import pytest

from rlagent import revive
from rlagent.paths import Paths


def call(host, request, service=None):
    """Run `rlagent call` as the deployment's wrapper does; return its reply."""
    environment = {name: value for name, value in os.environ.items() if name != revive.VARIABLE}
    environment |= {revive.VARIABLE: service} if service else {}
    command = [sys.executable, "-m", "rlagent", "--config", host.config, "call", json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    return json.loads(done.stdout)


def test_a_call_revives_a_dead_agent_says_so_and_gets_its_answer(make_host):
    host = make_host().start()
    pids = host.wait_running(2)
    host.kill_agent()

    refused = call(host, {"verb": "ping"})
    assert refused["error"]["code"] == "agent-not-running"

    reply = call(host, {"verb": "ping"}, revive.DETACHED)
    assert (reply["ok"], reply["revived"]) == (True, "the agent was dead: started in the background")
    assert host.wait_running(2) == pids
    assert call(host, {"verb": "ping"}, revive.DETACHED)["revived"] is None


def test_many_callers_at_once_revive_one_agent(make_host):
    host = make_host()
    environment = {**os.environ, revive.VARIABLE: revive.DETACHED}
    command = [sys.executable, "-m", "rlagent", "--config", host.config, "call", '{"verb": "ping"}']
    callers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(4)]
    replies = [json.loads(caller.communicate(timeout=60)[0]) for caller in callers]
    assert [reply["ok"] for reply in replies] == [True] * 4
    assert len({reply["result"]["pid"] for reply in replies}) == 1


def test_a_lock_that_an_ending_agent_still_holds_is_waited_for(make_host):
    host = make_host()
    host.paths.logs.mkdir(parents=True)
    said = host.paths.logs / "startup.log"
    environment = {**os.environ, revive.VARIABLE: revive.DETACHED}
    command = [sys.executable, "-m", "rlagent", "--config", host.config, "call", '{"verb": "ping"}']
    with host.paths.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        caller = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        host.wait_for(lambda: said.exists() and "already runs" in said.read_text(), "a refusal", status=False)
    assert json.loads(caller.communicate(timeout=60)[0])["ok"]


def test_asking_a_dead_agent_to_end_starts_none(make_host):
    host = make_host()
    assert call(host, {"verb": "shutdown"}, revive.DETACHED)["error"]["code"] == "agent-not-running"
    assert host.processes() == []


def test_an_agent_that_cannot_start_is_told_as_not_running(make_host):
    host = make_host()
    host.paths.journal.mkdir(parents=True)
    assert call(host, {"verb": "ping"}, revive.DETACHED)["error"]["code"] == "agent-not-running"


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """Put a systemctl first in PATH that writes down what it is asked; its exit code is in the file `code`."""
    for name in ("systemctl", "sudo"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/asked\nexit $(cat {tmp_path}/code)\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(revive, "_BOOTED", tmp_path)
    monkeypatch.setattr(revive, "_answers", lambda *_: True)
    (tmp_path / "code").write_text("0")
    return tmp_path


def test_on_a_systemd_host_the_unit_is_started(systemctl, monkeypatch):
    for user, asked in ((0, "systemctl start the-unit"), (1000, "sudo -n systemctl start the-unit")):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        how = revive.revive(None, {revive.VARIABLE: "the-unit"}, lambda: False)
        assert how == "the agent was dead: started by systemctl start the-unit"
        assert (systemctl / "asked").read_text().splitlines()[-1] == asked


def test_without_the_right_to_start_the_unit_the_agent_runs_outside_of_it(systemctl):
    (systemctl / "code").write_text("1")
    assert revive.revive(None, {revive.VARIABLE: "u"}, lambda: True).endswith("started in the background")
    assert revive.revive(None, {revive.VARIABLE: "u"}, lambda: False) is None


def test_a_systemctl_that_can_not_be_run_or_does_not_end_is_no_start(systemctl, monkeypatch):
    for fault in (FileNotFoundError("systemctl"), subprocess.TimeoutExpired("systemctl", 20)):

        def fail(*_, fault=fault, **__):
            raise fault

        monkeypatch.setattr(subprocess, "run", fail)
        assert revive.revive(None, {revive.VARIABLE: "u"}, lambda: True).endswith("started in the background")


def test_where_systemd_does_not_run_nobody_asks_it(systemctl, monkeypatch):
    monkeypatch.setattr(revive, "_BOOTED", systemctl / "missing")
    assert revive.revive(None, {revive.VARIABLE: "u"}, lambda: True).endswith("started in the background")
    monkeypatch.setattr(revive, "_BOOTED", systemctl)
    assert revive.revive(None, {revive.VARIABLE: revive.DETACHED}, lambda: True).endswith("in the background")
    assert not (systemctl / "asked").exists()


def test_without_a_deployment_nothing_is_started(systemctl):
    for environ in ({}, {revive.VARIABLE: ""}):
        assert revive.revive(None, environ, lambda: True) is None


def test_a_unit_whose_agent_does_not_answer_is_not_enough(systemctl, monkeypatch):
    monkeypatch.setattr(revive, "_answers", lambda *_: False)
    assert revive.revive(None, {revive.VARIABLE: "u"}, lambda: True).endswith("started in the background")


@pytest.mark.parametrize(("answers_at", "within_s", "expected"), [(0, 1, True), (0.5, 1, True), (2, 1, False)])
def test_an_answer_is_waited_for(tmp_path, monkeypatch, answers_at, within_s, expected):
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(revive, "time", types.SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    monkeypatch.setattr(revive.client, "call", lambda *_, **__: types.SimpleNamespace(ok=now[0] >= answers_at))
    assert revive._answers(Paths(tmp_path), within_s) is expected
    assert now[0] == pytest.approx(min(answers_at, within_s), abs=0.05)
