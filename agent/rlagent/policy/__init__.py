"""The scaling policy: pure functions over events.

`step(state, event)` is total and returns the next state and the decisions, each with its reason. Nothing here knows a
clock, a process or a disk: time comes with each event, as policy time `t` (seconds, monotonic, kept across reboots) and
as `wall` (seconds since the epoch, only ever shown to people).
"""

from rlagent.policy.model import State
from rlagent.policy.step import step

__all__ = ["State", "step"]
