"""A journal folded again: the same decisions, another configuration's, and what would have tipped one of them."""

from __future__ import annotations

import pytest

from policy_driver import Host, rules
from rlagent import hindsight
from rlagent.cli import run
from rlagent.journal import Entry, Foreign, Journal, Stamp
from rlagent.policy.decisions import Decision
from rlagent.protocol import messages

CONFIG = """
[policy]
stable_minutes = 60
{policy}
[[modes]]
name = "light"
games = 2
num_envs = 32
batch_size = 512
[[modes]]
name = "medium"
games = 4
num_envs = 64
batch_size = 1024
""" + "".join(f'[[games]]\nname = "{game}"\ntarget_frames = 1000\n' for game in "ABCDEFGHIJ")


@pytest.fixture
def host():
    """A host that was promoted, and demoted after four crashes."""
    host = Host(rules()).up().climb()
    host.demote_by_crashes()
    return host


def entries(host) -> list[Entry]:
    stamps = [Stamp(t=event.t, wall=event.wall, monotonic=event.t, boot="b") for event, _, _ in host.log]
    return [
        Entry(seq=n, stamp=stamp, event=event, decisions=tuple(decisions))
        for n, (stamp, (event, decisions, _)) in enumerate(zip(stamps, host.log, strict=True), start=1)
    ]


def number_of(host, kind: str) -> int:
    return next(entry.seq for entry in reversed(entries(host)) if any(d.kind == kind for d in entry.decisions))


def journal_of(host, path, *, altered: int | None = None):
    journal = Journal(path)
    for entry, (_, _, state) in zip(entries(host), host.log, strict=True):
        decisions = (Decision(kind="alert", reason="made up"),) if entry.seq == altered else entry.decisions
        journal.append(entry.stamp, entry.event, decisions, state)
    journal.close()
    return path


def test_the_same_policy_decides_the_same(host, tmp_path, capsys):
    path = journal_of(host, tmp_path / "journal.sqlite3")
    assert run(["replay", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: {len(host.log)} lines replayed: the same decisions\n"


def test_a_line_that_is_decided_otherwise_is_shown_with_both_sides(host, tmp_path, capsys):
    number = number_of(host, "demote")
    path = journal_of(host, tmp_path / "journal.sqlite3", altered=number)
    assert run(["replay", str(path)]) == 3
    out = capsys.readouterr().out
    assert f" #{number} A attempt " in out
    assert "  - made up\n" in out
    assert "  + demote medium -> light: 4 incidents in 60 min (limit 3)" in out
    assert out.endswith(f"{len(host.log)} lines replayed: 1 decided otherwise (- then, + now)\n")


def test_another_configuration_shows_what_it_would_have_done(host, tmp_path, capsys):
    path = journal_of(host, tmp_path / "journal.sqlite3")
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(policy="max_crashes = 1"))
    assert run(["replay", str(path), "--with-config", str(config)]) == 3
    assert "demote medium -> light: 2 incidents in 60 min (limit 1)" in capsys.readouterr().out


def test_a_journal_of_a_living_agent_is_only_read(host, tmp_path):
    path = journal_of(host, tmp_path / "journal.sqlite3")
    writer = Journal(path)
    before = path.read_bytes()
    assert run(["replay", str(path)]) == 0
    assert path.read_bytes() == before
    writer.close()


@pytest.mark.parametrize(("content", "fault"), [(None, "no such file"), (b"", "schema 0"), (b"junk" * 999, "not a da")])
def test_what_is_no_journal_is_one_clear_error(content, fault, tmp_path, capsys):
    path = tmp_path / "journal.sqlite3"
    if content is not None:
        path.write_bytes(content)
    assert run(["replay", str(path)]) == 2
    assert fault in capsys.readouterr().err


def test_a_demotion_is_explained_with_what_would_have_tipped_it(host):
    told = "\n".join(hindsight.decision(entries(host), number_of(host, "demote")))
    assert "  → demote medium -> light: 4 incidents in 60 min (limit 3)" in told
    assert "Incidents in this mode in 60 min: 3 (more than 3 demote)." in told
    assert "  one incident less: incident" in told
    assert "demote" not in next(line for line in told.splitlines() if "one incident less" in line)


def test_a_promotion_tells_how_much_stable_time_it_had_to_spare(host):
    told = "\n".join(hindsight.decision(entries(host), number_of(host, "promote")))
    assert "  more than 0 s less stable time: no promotion" in told


def test_a_quiet_line_tells_how_much_stable_time_was_missing():
    host = Host(rules()).up()
    host.tick(3000)
    host.tick(3060)
    told = "\n".join(hindsight.decision(entries(host), len(host.log)))
    assert "  → nothing was decided" in told
    assert "  9 min more stable time: promote" in told


def test_a_hold_is_what_keeps_a_mode():
    host = Host(rules()).up()
    host.hold("light", at=10)
    host.tick(4000)
    told = "\n".join(hindsight.decision(entries(host), len(host.log)))
    assert "  not held: promote to medium" in told


def test_a_reboot_that_counted_would_not_have_if_announced(host):
    host.settle_drain(at=host.t)
    host.reboot(at=host.t + 100)
    told = "\n".join(hindsight.decision(entries(host), number_of(host, "incident")))
    assert "  a reboot had been announced: none of it" in told


def test_the_command_prints_a_reply(host, tmp_path, capsys):
    path = journal_of(host, tmp_path / "journal.sqlite3")
    assert run(["explain", str(number_of(host, "demote")), str(path)]) == 0
    reply = messages.decode_reply(capsys.readouterr().out.encode())
    assert reply.result["next_action"].endswith("ended: SIGKILL.")
    assert run(["explain", "99999", str(path)]) == 1
    reply = messages.decode_reply(capsys.readouterr().out.encode())
    assert (reply.error.code, reply.error.message) == ("refused", f"no line #99999 in {path}")


def told_of(host: Host) -> list[str]:
    """Return what is told of the last line."""
    return hindsight.decision(entries(host), len(host.log))


def tips(host: Host) -> list[str]:
    lines = told_of(host)
    return [line.strip() for line in lines[lines.index("What would have tipped it:") + 1 :]]


def variants(host: Host) -> list[str]:
    """Return what is tried on the state before the last line."""
    return [words for words, _ in hindsight._variants(host.log[-2][2], host.t)]


def test_only_what_there_is_is_taken_away():
    host = Host(rules()).up()
    host.tick(10)
    assert variants(host) == ["one incident more", "a reboot had been announced"]
    host.crash("A", at=20)
    host.tick(21)
    assert variants(host) == [
        "one incident less",
        "one incident more",
        "a checkpoint just before",
        "a reboot had been announced",
    ]
    host.recover(at=40)
    host.hold("medium", at=50)
    host.settle_drain(at=51)
    host.rollback(at=52)
    host.settle_drain(at=53)
    host.announce_reboot(at=54)
    host.stop(at=55)
    host.tick(56)
    assert variants(host)[-3:] == ["no cooldown", "no reboot had been announced", "not stopped by an operator"]
    host.hold("light", at=57)
    host.tick(58)
    assert "not held" in variants(host)


def test_what_is_taken_away_is_gone():
    host = Host(rules()).up()
    host.crash_and_recover("A", at=20, checkpoint=True)
    host.crash("A", at=60)
    state = host.state
    changed = dict(hindsight._variants(state, host.t))
    assert len(state.incidents) == 2
    assert changed["one incident less"].incidents == state.incidents[1:]
    assert changed["one incident less"].barren_incidents == state.barren_incidents - 1
    more = changed["one incident more"].incidents
    assert (more[:-1], more[-1].mode, more[-1].visit) == (state.incidents, "light", state.visit)
    assert changed["a checkpoint just before"].barren_incidents == 0
    assert changed["a reboot had been announced"].announced_until == state.t


@pytest.mark.parametrize("missing_s", [600.0, 0.5])
def test_the_stable_time_that_was_missing_is_told(missing_s):
    host = Host(rules()).up()
    host.tick(3600 - missing_s)
    assert (
        tips(host)[-1] == {600.0: "10 min more stable time: promote", 0.5: "0.5 s more stable time: promote"}[missing_s]
    )


def test_no_amount_of_time_promotes_where_something_else_forbids_it():
    host = Host(rules()).up().climb()
    host.tick(host.t + 10)
    assert not any("more stable time" in tip for tip in tips(host))


def test_the_time_that_a_promotion_had_to_spare_is_told():
    host = Host(rules()).up()
    host.tick(3600 + 90)
    assert tips(host)[-1] == "more than 90 s less stable time: no promotion"
    assert not any("more stable time" in tip for tip in tips(host))


def test_a_line_that_nothing_tips_says_so():
    host = Host(rules()).up().climb()
    host.agent_stops(at=host.t + 5)
    assert tips(host) == ["none of the changes that were tried"]


def test_a_line_that_this_version_decides_otherwise_says_so(host):
    lines = entries(host)
    number = number_of(host, "demote")
    lines[number - 1] = Entry(
        seq=number,
        stamp=lines[number - 1].stamp,
        event=lines[number - 1].event,
        decisions=(Decision(kind="alert", reason="x"),),
    )
    told = hindsight.decision(lines, number)
    assert "This version of the policy decides otherwise: incident, demote to light" in told
    assert not any("decides otherwise" in line for line in hindsight.decision(entries(host), number))


def test_lines_of_another_version_are_passed_over(host, tmp_path):
    lines = entries(host)
    foreign = Entry(
        seq=0, stamp=lines[3].stamp, event=Foreign(kind="teleport"), decisions=(Decision(kind="alert", reason="x"),)
    )
    mixed = [*lines[:3], foreign, *lines[3:]]
    assert list(hindsight.differences(mixed)) == []
    number = number_of(host, "demote")
    assert hindsight.decision(mixed, number) == hindsight.decision(lines, number)
    with pytest.raises(hindsight.UnknownEntryError):
        hindsight.decision(mixed, 0)


def test_only_the_configuration_is_exchanged_for_another_one(host):
    differing = list(hindsight.differences(entries(host), rules(max_crashes=1)))
    assert any("demote to light" in hindsight._outcome(found.now) for found in differing)
    assert list(hindsight.differences(entries(host), rules())) == []
