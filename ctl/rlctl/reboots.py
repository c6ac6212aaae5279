"""An announced reboot of one host, step by step: check, announce, drain, reboot, wait for it, say what was found.

Whatever goes wrong before the host goes down withdraws the announcement, so that trainers start again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeVar

from rlagent.protocol.messages import AnnounceReboot, Done, GetStatus, Request, WithdrawReboot
from rlagent.protocol.status import AgentStatus
from rlctl import durations, show, skew
from rlctl.channel import Completed, last_line
from rlctl.errors import AgentError, HostError, RefusedError
from rlctl.exits import USAGE
from rlctl.hosts import Host

T = TypeVar("T")
DRAIN_S: Final = 600.0
"""Trainers that have not checkpointed and stopped by then keep the host from being rebooted."""
STAYS_UP_S: Final = 180.0
"""A host that is still up in the same boot so long after it was told to reboot does not."""
SETTLE_S: Final = 60.0
"""So long at most the new boot is watched for trainers that take steps."""
_POLL_S: Final = 1.0
_SAID_NO: Final = frozenset({1, USAGE})
"""How `rlagent reboot` ends when it could not, or does not exist."""
_UP: Final = frozenset({"STARTING", "RUNNING", "STOPPING"})


class Line(Protocol):
    """The way to the host; both raise `HostError`."""

    def ask(self, request: Request, result: type[T]) -> T:
        """Ask its agent."""

    def run(self, *words: str) -> Completed:
        """Run a command of its `rlagent`."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the person wants."""

    who: str
    why: str
    by_hand: bool
    """The person restarts it; here it is only announced and waited for."""
    wait_s: float
    """For its return."""
    request_id: str


class Reboot:
    """One host's reboot."""

    def __init__(self, host: Host, line: Line, wanted: Wanted, tell: Callable[[str], None]) -> None:
        self._host, self._line, self._wanted = host, line, wanted
        self._tell = tell
        self._goes_down = False

    def run(self) -> str:
        """Do it, and return what was found after it; raises `HostError`."""
        before = self._status()
        if before.boot is None:
            raise RefusedError(
                skew.OLDER,
                "its agent is older and knows no announced reboots",
                f"upgrade it: {self._host.deploy_command}",
            )
        if not self._wanted.by_hand:
            self._check(self._line.run("reboot", "--check"))
        with self._withdrawn_on_failure():
            self._announce()
            self._drain()
            self._go_down()
            after = self._wait_for_return(before)
        return self._found(before, self._settled(after))

    def _status(self) -> AgentStatus:
        return self._line.ask(GetStatus(), AgentStatus)

    def _check(self, done: Completed) -> None:
        said = last_line(done.stderr).removeprefix("rlagent: ")
        if done.exit_code == USAGE and "invalid choice" in said:
            raise RefusedError(
                skew.OLDER, "its agent is older and does not know reboot", f"upgrade it: {self._host.deploy_command}"
            )
        if done.exit_code != 0:
            raise RefusedError("cannot-reboot", said or f"rlagent reboot ended with {done.exit_code}")

    def _announce(self) -> None:
        wanted = self._wanted
        wish = AnnounceReboot(who=wanted.who, why=wanted.why, request_id=wanted.request_id)
        for decision in self._line.ask(wish, Done).decisions[:1]:
            self._tell(decision)

    def _drain(self) -> None:
        """Wait until every trainer has written its checkpoint and ended."""
        deadline = time.monotonic() + DRAIN_S
        waiting: list[str] = []
        while True:
            status = self._status()
            alive = [game.game for game in status.games if game.state in _UP]
            if not alive:
                self._tell("no trainer runs any more: each has written its checkpoint")
                return
            if status.reboot_announced_until is None:
                raise AgentError(
                    "withdrawn", "somebody else withdrew the announcement", f"see: rlctl history {self._host.name}"
                )
            if time.monotonic() > deadline:
                fault = f"{', '.join(alive)} did not stop within {durations.show(DRAIN_S)}"
                raise AgentError("no-drain", fault, f"look: rlctl logs {self._host.name} {alive[0]}")
            if alive != waiting:
                self._tell(f"waiting for {', '.join(alive)} to checkpoint and stop")
                waiting = alive
            time.sleep(_POLL_S)

    def _go_down(self) -> None:
        if self._wanted.by_hand:
            self._tell(f"restart it now, in its provider's console; waiting for {durations.show(self._wanted.wait_s)}")
            return
        self._tell("rebooting")
        try:
            done = self._line.run("reboot")
        except HostError:
            self._goes_down = True  # it went down faster than it could answer
            return
        if done.exit_code in _SAID_NO:
            self._check(done)
        self._goes_down = True  # any other end is that of a session which the reboot has killed

    def _wait_for_return(self, before: AgentStatus) -> AgentStatus:
        """Return the first status of another boot."""
        begun = time.monotonic()
        last: HostError | None = None
        while (waited_s := time.monotonic() - begun) < self._wanted.wait_s:
            try:
                status = self._status()
            except HostError as error:
                self._goes_down, last = True, error
            else:
                if status.boot != before.boot:
                    return status
                last = None
                if not self._wanted.by_hand and waited_s > STAYS_UP_S:
                    break
            time.sleep(_POLL_S)
        waited = durations.show(time.monotonic() - begun)
        if last is None:
            self._goes_down = False
            raise AgentError(
                "no-reboot", f"it is up after {waited}, but was not rebooted", "the announcement is withdrawn"
            )
        raise HostError(
            last.kind,
            f"it has not come back within {waited}: {last.reason}",
            "look at it in its provider's console; what the agent finds then is shown by rlctl status",
        )

    def _settled(self, status: AgentStatus) -> AgentStatus:
        """Return the status once trainers take steps again, or the last one."""
        self._tell(f"back in another boot, up for {show.age(status.uptime_s)}; waiting for its trainers")
        deadline = time.monotonic() + SETTLE_S
        while not status.stopped and time.monotonic() < deadline:
            if status.trainers and all(trainer.sps is not None for trainer in status.trainers):
                break
            time.sleep(_POLL_S)
            with contextlib.suppress(HostError):
                status = self._status()
        return status

    def _found(self, before: AgentStatus, after: AgentStatus) -> str:
        states = ", ".join(f"{trainer.game} {trainer.state}" for trainer in after.trainers) or "no trainer"
        new = [incident for incident in after.incidents if incident.what.startswith("reboot")]
        known = [incident for incident in before.incidents if incident.what.startswith("reboot")]
        counted = "not counted as an incident" if len(new) <= len(known) else "COUNTED as an incident"
        stopped = " (stopped by an operator)" if after.stopped else ""
        return f"rebooted, {counted}: mode {after.mode}{stopped}, {states}"

    @contextlib.contextmanager
    def _withdrawn_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:  # Ctrl-C too
            if not self._goes_down:
                self._withdraw()
            raise

    def _withdraw(self) -> None:
        try:
            done = self._line.ask(WithdrawReboot(who=self._wanted.who, why="the reboot did not happen"), Done)
        except RefusedError:
            return  # it was not announced yet, or not any more
        except HostError as error:
            self._tell(f"could not withdraw the announcement ({error.reason}): it ends by itself after half an hour")
            return
        self._tell("; ".join(done.decisions[:2]))
