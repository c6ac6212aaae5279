"""`rlctl simulate`: asks no host; a policy's settings against a described one."""

from __future__ import annotations

import json

import pytest

import ctl_runs
from ctl_inside import rlctl

HOST = ["--mode", "light:1000:0.1", "--mode", "medium:1800:5", "--days", "2", "--runs", "1"]


def simulate(*words):
    return rlctl("simulate", *words)


def test_the_table_compares_single_modes_policies_and_the_best_schedule():
    done = simulate(*HOST, "--set", "cooldown_factor=2")
    assert done.returncode == 0, done.stderr
    first = [line.split("  ")[0] for line in done.stdout.splitlines()[:7]]
    assert first == [
        "POLICY",
        "always light",
        "always medium",
        "ladder",
        "goodput",
        "cooldown_factor=2",
        "best schedule",
    ]
    assert "demote medium -> light: 4 incidents in 60 min" in done.stdout
    assert "█" in done.stdout or "▆" in done.stdout


def test_json_has_figures_and_curves_and_the_same_seed_repeats_them():
    done = simulate(*HOST, "-o", "json")
    report = json.loads(done.stdout)
    rows = {row["policy"]: row for row in report["policies"]}
    assert report["schema_version"] == 1
    assert rows["always medium"]["crashes_per_week"] > 300
    assert rows["ladder"]["switches_per_week"] > 10
    assert len(rows["goodput"]["curve"]) == len(rows["goodput"]["modes"]) > 50
    assert rows["goodput"]["share_of_best"] > rows["ladder"]["share_of_best"]
    elsewhere = ctl_runs.rlctl("simulate", *HOST, "-o", "json")  # a program of its own, with other hashes
    assert elsewhere.stdout == done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mode", "medium"], "--mode 'medium': write name:steps per second:crashes per hour"),
        (["--mode", "a:1:1", "--mode", "a:1:1"], "--mode: 'a' is there twice"),
        (["--mode", "a:1:1", "--model", "a tie"], "--model and --mode: give one of them"),
        (["--model", "atie"], "--model 'atie': no such host; there are: all stable; "),
        (["--set", "cooldown_facto=2"], "--set [policy] cooldown_facto: unknown key (did you mean cooldown_factor?)"),
        (["--set", "cooldown_factor"], "--set 'cooldown_factor': write key=value"),
        (["--set", "stable_minutes=0"], "stable_minutes must be above 0"),
        (["--reboot", "soon"], "'soon' is no duration"),
    ],
)
def test_a_wrong_question_is_one_clear_error(words, message):
    done = simulate(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
