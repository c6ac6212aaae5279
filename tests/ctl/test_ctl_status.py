"""`rlctl status` as a person and as a program sees it, against real processes on this machine."""

import json

import pytest

from ctl_inside import rlctl
from ctl_runs import Agent, Terminal, inventory
from ctl_sshd import free_port
from ctl_statuses import queued, status, trainer
from rlagent.protocol import status as st


@pytest.fixture
def agent(tmp_path):
    return Agent(tmp_path / "root")


@pytest.fixture
def source(tmp_path, agent):
    return inventory(tmp_path, {"tnr-0": agent.local(rlfleet_price_per_hour=0.78)})


def report(source, *words):
    done = rlctl("-i", source, "status", *words, "-o", "json")
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_a_healthy_host_in_full(source):
    done = rlctl("-i", source, "status", COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:9] == [
        "● tnr-0  medium for 2 h 14 min · agent 0.1.0 alive for 3 d 2 h · host up 3 d 3 h",
        "  stable  42 min of the 1 h that a promotion needs · 0 incidents and 0 reboots in the last hour",
        "  host    load 3.8 on 4 CPUs · memory 12.0 of 32.0 GiB used · disk 210.0 of 500.0 GiB free",
        "  GPU 0   NVIDIA A100 80GB PCIe · busy 87 % · memory 31.2 of 80.0 GiB · 61 °C · 285 W",
        "",
        "  GAME      STATE     PID   STEP  STEPS/S  EPISODE  EP/H   BEST  MEAN100  CHECKPOINT    DONE",
        "  MsPacman  RUNNING  4121  8.10M    2,101    8,101   412  4,230  1,912.3    42 s ago  81.0 %",
        "  Pong      RUNNING  4122  8.10M    2,101    8,101   412  4,230  1,912.3    42 s ago  81.0 %",
        "",
    ]
    assert lines[9] == "  queue   1 of 4 games done · 1 waiting (Breakout)"
    assert lines[10].startswith("  next    promote in 18 min (")
    assert lines[10].endswith("): to heavy: 60 min stable then, if nothing crashes")
    assert lines[11:] == ["  left    12 h 24 min until every game is done · $9.67 at $0.78 an hour"]


def test_the_documented_json(source):
    code, data = report(source)
    (host,) = data["hosts"]
    assert (code, data["schema_version"]) == (0, 1)
    documented = {
        "host": "tnr-0",
        "ok": True,
        "error": None,
        "mode": "medium",
        "mode_since": "2026-11-23T10:00:00Z",
        "uptime_s": 270_000.0,
        "incidents_last_hour": 0,
    }
    assert {name: host[name] for name in documented} == documented
    assert (host["agent"]["alive"], host["agent"]["version"]) == (True, "0.1.0")
    assert host["gpu"][0]["utilization_percent"] == 87.0
    assert {name: host["next_action"][name] for name in ("kind", "at")} == {
        "kind": "promote",
        "at": "2026-11-23T14:05:00Z",
    }
    assert host["projection"] == {"hours_left": 12.4, "cost_left": pytest.approx(9.672), "price_per_hour": 0.78}
    wanted = ["game", "state", "pid", "global_step", "sps", "episodes", "episodes_per_hour", "best_return"]
    wanted += ["mean_return_100", "checkpoint_age_s", "progress"]
    values = ["MsPacman", "RUNNING", 4121, 8_100_000, 2101.4, 8101, 412.2, 4230.0, 1912.34, 42.0, 0.81]
    assert [host["trainers"][0][name] for name in wanted] == values


def test_an_unreachable_host_has_every_key_of_a_reachable_one(tmp_path, agent):
    dead = {"ansible_host": "127.0.0.1", "ansible_port": free_port()}
    source = inventory(tmp_path, {"up": agent.local(), "down": dead})
    code, data = report(source)
    up, down = data["hosts"]
    assert code == 4
    assert set(up) == set(down)
    assert all(set(up[name]) == set(down[name]) for name in ("agent", "next_action", "projection"))
    assert (down["ok"], down["error_kind"], down["mode"], down["agent"]["alive"]) == (False, "refused", None, None)
    assert (down["trainers"], down["gpu"], down["next_action"]["kind"]) == ([], [], None)
    assert down["projection"] == {"hours_left": None, "cost_left": None, "price_per_hour": None}


def test_several_hosts_are_a_table_with_a_sum_and_each_reason(tmp_path, agent):
    dead = {"ansible_host": "127.0.0.1", "ansible_port": free_port()}
    source = inventory(tmp_path, {"tnr-0": agent.local(rlfleet_price_per_hour=0.5), "tnr-1": dead})
    done = rlctl("-i", source, "status", "--no-details", COLUMNS="100")
    assert done.returncode == 4
    lines = done.stdout.splitlines()
    summed = "2 hosts · 1 up · 1 down · 2 trainers running · 4,203 steps/s · 1 of 4 games done · $0.50 an hour "
    summed += "(1 host without a price) · all done in 12 h 24 min ("
    assert " ".join(line.strip() for line in lines[:2]).startswith(summed)
    assert lines[2:] == [
        "",
        "   HOST   MODE       FOR  RUNNING  STEPS/S  GAMES  INC/H   GPU  NEXT              LEFT   COST",
        "●  tnr-0  medium   2h14m      2/2    4,203    1/4      0  87 %  promote in 18m  12h24m  $6.20",
        "✗  tnr-1  refused    n/a      n/a      n/a    n/a    n/a   n/a  n/a                n/a    n/a",
        f"└  127.0.0.1:{dead['ansible_port']} refused the connection; is the server up, and ansible_port right?",
    ]


def test_the_sums_of_a_fleet_are_in_the_json_too(tmp_path, agent):
    other = Agent(tmp_path / "other")
    other.answer("status", status(alerts=["hot"], projection=st.Projection(hours_left=20.0)))
    dead = {"ansible_host": "127.0.0.1", "ansible_port": free_port(), "rlfleet_price_per_hour": 0.25}
    hosts = {"a": agent.local(rlfleet_price_per_hour=0.5), "b": other.local(), "c": dead}
    _, data = report(inventory(tmp_path, hosts))
    assert data["fleet"] == {
        "hosts": 3,
        "up": 1,
        "degraded": 1,
        "down": 1,
        "trainers_running": 4,
        "sps": pytest.approx(8405.6),
        "games_done": 2,
        "games": 8,
        "price_per_hour": 0.75,
        "hosts_without_price": 1,
        "hours_left": 20.0,
        "hosts_without_projection": 1,
        "cost_left": pytest.approx(6.2),
    }


@pytest.mark.parametrize(("columns", "titles"), [(80, 9), (60, 7), (40, 4)])
def test_a_narrow_terminal_gets_fewer_columns_and_no_line_is_cut(tmp_path, agent, columns, titles):
    source = inventory(tmp_path, {f"tnr-{n}": agent.local() for n in range(4)})
    done = rlctl("-i", source, "status", COLUMNS=str(columns), NO_COLOR="1")
    table = done.stdout.split("\n\n")[1].splitlines()
    assert (len(table[0].split()), len(table), max(map(len, table)) <= columns) == (titles, 5, True)
    assert all("medium" in row and "2/2" in row and "4,203" in row and "…" not in row for row in table[1:])


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"stopped": True}, "medium stopped"),
        ({"stopped": True, "reboot_announced_until": "2026-11-24T12:00:00Z"}, "medium reboot"),
        ({"changing_to": "heavy"}, "medium → heavy"),
        ({"games": [queued("Pong", "EXITED")]}, "medium done"),
        ({"hold": st.HoldStatus(mode="medium", until=None, no_fallback=False, who="", why="")}, "medium held"),
    ],
)
def test_a_row_says_what_is_special_about_a_host(agent, source, changes, shown):
    agent.answer("status", status(**changes))
    assert f"  {shown}  " in rlctl("-i", source, "status", "--no-details").stdout


def test_fields_that_a_newer_agent_adds_are_ignored(agent, source):
    newer = json.loads((agent.root / "answers" / "status").read_text())
    newer["result"] |= {"colour": "blue", "trainers": [*newer["result"]["trainers"]]}
    newer["result"]["trainers"][0] |= {"mood": 3}
    agent.say("status", json.dumps(newer | {"more": []}) + "\n")
    done = rlctl("-i", source, "status")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_not_known_is_na(agent, tmp_path):
    blank = trainer("Pong", pid=None, **dict.fromkeys(["global_step", "sps", "episodes", "episodes_per_hour"]))
    agent.answer(
        "status",
        status(
            trainers=[blank],
            gpu=[st.GpuStatus(index=0)],
            host=st.HostReadings(),
            projection=st.Projection(hours_left=None),
        ),
    )
    done = rlctl("-i", inventory(tmp_path, {"a": agent.local()}), "status")
    assert "  GPU 0   name n/a · busy n/a · memory n/a · n/a · n/a\n" in done.stdout
    assert "  host    load n/a · memory n/a used · disk n/a free\n" in done.stdout
    assert "  left    time n/a · cost n/a (no rlfleet_price_per_hour in the inventory)\n" in done.stdout
    assert "  Pong  RUNNING  n/a   n/a      n/a      n/a   n/a  4,230" in done.stdout


def test_trouble_is_named_and_is_exit_code_3(agent, source):
    trainers = [trainer("Pong", "BACKOFF", pid=None, attempt=3, last_error="killed by signal 9", retry_at=None)]
    agent.answer(
        "status",
        status(
            trainers=trainers,
            games=[*trainers, queued("Qbert", "FATAL", last_error="exit code 2: unknown game")],
            gpu=[],
            gpu_error="NVML not found",
            stopped=True,
            changing_to="light",
            alerts=["the host is not stable"],
            hold=st.HoldStatus(mode="medium", until=None, no_fallback=True, who="ann@laptop", why="deadline"),
        ),
    )
    done = rlctl("-i", source, "status")
    assert done.returncode == 3
    for line in (
        "● tnr-0  medium for 2 h 14 min · changing to light · STOPPED by an operator · agent 0.1.0",
        "  hold    in medium until released, no fallback (ann@laptop, deadline)\n",
        "  GPU     n/a (NVML not found)\n",
        "  └  killed by signal 9\n",
        "  FATAL   Qbert: exit code 2: unknown game\n",
        "  alert   the host is not stable\n",
    ):
        assert line in done.stdout


def test_a_retry_says_when(agent, source):
    trainers = [trainer("Pong", "BACKOFF", pid=None, attempt=3, last_error="crash", retry_at="2099-01-01T00:00:00Z")]
    agent.answer("status", status(trainers=trainers))
    assert "  └  crash; attempt 4 in " in rlctl("-i", source, "status").stdout


@pytest.mark.parametrize(
    ("code", "kind", "reason", "alive"),
    [
        ("agent-not-running", "agent-not-running", "the agent is not running: nobody listens", False),
        ("no-permission", "no-permission", "no permission: nobody listens", None),
        ("unsupported-version", "older-agent", "its agent is older: nobody listens", None),
        ("internal", "agent-internal", "its agent failed: nobody listens", None),
        ("timeout", "agent-timeout", "its agent is stuck: nobody listens", None),
    ],
)
def test_what_the_agents_command_reports_is_the_hosts_reason(agent, source, code, kind, reason, alive):
    agent.fail("status", code, "nobody listens")
    exit_code, data = report(source)
    (host,) = data["hosts"]
    assert (exit_code, host["error_kind"], host["error"], host["agent"]["alive"]) == (5, kind, reason, alive)
    assert host["hint"]


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("Segmentation fault\n", "garbage", "call printed 'Segmentation fault' instead of a reply"),
        ("", "agent-broken", "call ended with 1 and said: nothing"),
        ("\x00\xff{", "garbage", "instead of a reply"),
        ('{"v":9,"ok":true,"result":{}}\n', "newer-agent", "its agent is newer: protocol 9, this rlctl 1"),
        ('{"v":9,"outcome":"fine"}\n', "newer-agent", "its agent is newer: protocol 9, this rlctl 1"),
        ('{"v":1,"ok":true,"result":{"schema_version":2}}\n', "newer-agent", "status schema 2, this rlctl 1"),
        ('{"v":1,"ok":true,"result":{"mode":1}}\n', "garbage", "its agent's answer can't be read: "),
        ('{"v":1,"ok":false}\n', "garbage", "its agent failed and did not say why"),
    ],
)
def test_a_host_that_speaks_garbage_is_a_row(agent, source, text, kind, reason):
    agent.say("status", text)
    exit_code, data = report(source)
    assert (exit_code, data["hosts"][0]["error_kind"]) == (5, kind)
    assert reason in data["hosts"][0]["error"]


def test_what_a_login_script_prints_before_the_reply_does_not_matter(agent, source):
    agent.say("status", "Welcome!\n" + (agent.root / "answers" / "status").read_text())
    assert report(source)[0] == 0


def test_a_host_without_an_agent_is_told_how_to_deploy(tmp_path):
    source = inventory(tmp_path, {"tnr-0": {"ansible_connection": "local", "rlfleet_root": str(tmp_path / "none")}})
    done = rlctl("-i", source, "status")
    assert done.returncode == 5
    assert done.stdout.splitlines() == [
        f"✗ tnr-0  no agent is installed ({tmp_path}/none/bin/rlagent not found)",
        f"  next    deploy it: cd playbooks && ansible-playbook -i {source} deploy.yml --limit tnr-0",
    ]


def test_an_agent_that_may_not_be_run_is_told(agent, source):
    agent.program.chmod(0o644)
    _, data = report(source)
    assert data["hosts"][0]["error_kind"] == "no-permission"


def test_a_slow_host_is_a_row_and_does_not_delay_the_others(tmp_path, agent):
    slow = Agent(tmp_path / "slow")
    slow.slow(120)
    source = inventory(tmp_path, {"a": slow.local(), "b": agent.local()})
    done = rlctl("-i", source, "--timeout", "12.5", "status", "-o", "json")
    hosts = json.loads(done.stdout)["hosts"]
    assert [host["error"] for host in hosts] == ["no answer within 12.5 s", None]
    assert done.returncode == 4


def test_on_a_terminal_there_is_colour_unless_no_color(source):
    coloured = Terminal("-i", source, "status")
    assert coloured.finish() == 0
    assert "\x1b[32mRUNNING" in coloured.output
    plain = Terminal("-i", source, "status", NO_COLOR="1")
    assert plain.finish() == 0
    assert "\x1b[32m" not in plain.output
    assert "RUNNING" in plain.output


def test_watch_shows_the_status_again_until_ctrl_c(agent, source):
    terminal = Terminal("-i", source, "watch", "--interval", "0.5")
    terminal.read_until("medium for 2 h")
    agent.answer("status", status(mode="heavy"))
    terminal.read_until("heavy for 2 h")
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert "Traceback" not in terminal.output
