"""Operators' wishes against a real agent: named ones are done once, dry runs do nothing, reboots are announced."""

from __future__ import annotations

import pytest

from rlagent.journal import Journal
from rlagent.protocol.messages import AnnounceReboot, Hold, Rollback, Scale, Stop, WithdrawReboot


def mode_changes(host, kind):
    return [entry for entry in host.history() if entry["kind"] == kind]


def told(host):
    """The history without what a busy machine does to trainers at any moment."""
    return [entry for entry in host.history() if entry["kind"] not in ("trainer_stalled", "trainer_progressed")]


def test_a_wish_asked_again_after_a_lost_reply_is_done_once(make_host):
    host = make_host().start()
    host.wait_running(2)
    wish = Scale(mode="medium", who="ann@laptop", why="night", request_id="r-1")
    first = host.call(wish).result
    host.kill_agent()
    host.start()
    again = host.call(wish).result
    assert (first["repeated"], again["repeated"], again["decisions"]) == (False, True, first["decisions"])
    (entry,) = mode_changes(host, "scale")
    assert entry["summary"] == "scale to medium asked for by ann@laptop (night)"
    host.wait_running(4)


def test_a_refusal_asked_again_is_the_same_refusal(make_host):
    host = make_host().start()
    wish = Hold(mode="nonsense", request_id="r-2")
    assert host.call(wish).error == host.call(wish).error
    assert len(mode_changes(host, "hold")) == 1


def test_one_name_for_two_wishes_is_an_error(make_host):
    host = make_host().start()
    assert host.call(Hold(mode="light", request_id="r-3")).ok
    error = host.call(Stop(request_id="r-3")).error
    assert error.code == "bad-request"
    assert error.message == "request_id r-3: another wish had this name: hold light asked for"
    assert host.status()["stopped"] is False


@pytest.mark.parametrize("wish", [Stop, Rollback, lambda **more: Scale(mode="medium", **more), AnnounceReboot])
def test_a_dry_run_says_what_would_happen_and_does_nothing(make_host, wish):
    host = make_host().start()
    host.wait_running(2)
    before = told(host)
    foreseen = host.call(wish(who="ann", dry_run=True, request_id="r-4"))
    assert (told(host), host.status()["stopped"], host.status()["changing_to"]) == (before, False, None)
    real = host.call(wish(who="ann", request_id="r-4"))
    strip = (lambda reply: reply.result["decisions"]) if real.ok else (lambda reply: reply.error)
    assert strip(foreseen) == strip(real)


def test_an_announced_reboot_stops_trainers_gracefully_and_its_withdrawal_starts_them(make_host):
    host = make_host().start()
    host.wait_running(2)
    assert host.call(AnnounceReboot(who="ann", why="kernel")).ok
    assert host.status()["reboot_announced_until"] is not None
    host.wait_stopped()
    assert [g["last_error"] for g in host.status()["games"]] == [None] * 5
    assert host.call(WithdrawReboot(who="ann")).ok
    host.wait_running(2)
    status = host.status()
    assert (status["reboot_announced_until"], status["incidents"], status["stopped"]) == (None, [], False)


def test_the_journal_finds_a_wish_without_reading_everything(make_host):
    host = make_host().start()
    host.call(Hold(mode="light", request_id='odd "name" % _'))
    journal = Journal(host.paths.journal)
    try:
        assert journal.wish('odd "name" % _').event.mode == "light"
        assert journal.wish("odd") is None
        query = "EXPLAIN QUERY PLAN SELECT seq FROM events WHERE kind IN ('hold', 'release', 'rollback', 'scale', "
        query += "'stop', 'start', 'reboot_announced', 'reboot_withdrawn') AND instr(event, 'x') > 0 ORDER BY seq DESC"
        assert "INDEX wishes" in str(journal._db.execute(query).fetchall())
    finally:
        journal.close()
