"""Trainers as processes: start, adopt after an agent restart, stop gracefully, kill, and say how they ended.

Everything is asked for by the attempt's identity and can be asked again: an agent killed between any two instructions
and started again ends in the same place, with never two trainers of one game.
"""

from rlagent.supervisor.core import Supervisor
from rlagent.supervisor.exits import Evidence, ExitRecord, classify
from rlagent.supervisor.model import Exited, Launch, Pending, Process, Running

__all__ = [
    "Evidence",
    "ExitRecord",
    "Exited",
    "Launch",
    "Pending",
    "Process",
    "Running",
    "Supervisor",
    "classify",
]
