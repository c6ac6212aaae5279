"""Policy time: grows with the monotonic clock, and across a reboot by the downtime, within one window."""

from __future__ import annotations

import pytest

from rlagent.clock import PolicyClock, gap_s
from rlagent.journal import Stamp

LAST = Stamp(t=500.0, wall=1_000_000.0, monotonic=200.0, boot="kernel-1/10")
HOUR = 3600.0


@pytest.mark.parametrize(
    ("boot", "monotonic", "wall", "gap"),
    [
        pytest.param("kernel-1/10", 260.0, 1_000_060.0, 60.0, id="agent restart"),
        pytest.param("kernel-1/10", 260.0, 9_000_000.0, 60.0, id="agent restart, wall clock jumped"),
        pytest.param("kernel-1/10", 9200.0, 1_009_000.0, 9000.0, id="agent was away for hours within one boot"),
        pytest.param("kernel-2/10", 30.0, 1_000_120.0, 120.0, id="reboot, two minutes down"),
        pytest.param("kernel-2/10", 30.0, 9_000_000.0, HOUR, id="reboot, wall clock a year ahead"),
        pytest.param("kernel-2/10", 30.0, 5.0, 0.0, id="reboot, wall clock in 1970"),
        pytest.param("kernel-1/99", 290.0, 9_000_000.0, 90.0, id="container restart: the kernel's clock goes on"),
        pytest.param("kernel-1/99", 90_200.0, 1_000_060.0, HOUR, id="container restart after a day"),
        pytest.param("kernel-2/10", 260.0, 1_000_120.0, 120.0, id="reboot, up for longer than before"),
        pytest.param("kernel-0/10", 260.0, 1_000_120.0, 120.0, id="reboot, another kernel of a smaller name"),
        pytest.param("kernel-1/09", 90_200.0, 1_000_060.0, HOUR, id="container restart, a smaller name"),
        pytest.param("kernel-1/10", 200.0, 9_000_000.0, 0.0, id="agent restart in the same instant"),
        pytest.param("kernel-1/10", 199.0, 1_000_120.0, 120.0, id="the same boot, but its clock went back"),
        pytest.param("kernel-2/10", 30.0, 1_003_600.0, HOUR, id="reboot, down for one window"),
        pytest.param("kernel-2/10", 30.0, 1_003_599.0, 3599.0, id="reboot, down for almost one window"),
    ],
)
def test_gap(boot, monotonic, wall, gap):
    assert gap_s(LAST, boot, monotonic, wall, HOUR) == gap


def test_begins_at_zero_without_a_journal_and_grows_with_the_monotonic_clock():
    now = [5000.0, 1_000_000.0]
    clock = PolicyClock(None, "kernel-1/10", lambda: now[0], lambda: now[1], HOUR)
    assert clock.stamp() == Stamp(t=0.0, wall=1_000_000.0, monotonic=5000.0, boot="kernel-1/10")
    now[:] = [5007.0, 5.0]
    assert clock.stamp() == Stamp(t=7.0, wall=5.0, monotonic=5007.0, boot="kernel-1/10")


def test_goes_on_where_the_journal_ended():
    clock = PolicyClock(LAST, "kernel-2/10", lambda: 0.0, lambda: LAST.wall + 100, HOUR)
    first, second = clock.stamp(), clock.stamp()
    assert first.t - first.monotonic == pytest.approx(600.0)
    assert second.t >= first.t
    assert second.boot == "kernel-2/10"
