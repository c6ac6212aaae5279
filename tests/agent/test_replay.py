"""A journal folded again: the same decisions, another configuration's, and what would have tipped one of them."""

from __future__ import annotations

import pytest

from policy_driver import Host, rules
from rlagent import hindsight
from rlagent.cli import run
from rlagent.journal import Entry, Journal, Stamp
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
