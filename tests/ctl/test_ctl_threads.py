"""Many hosts answer at the same instant: what their threads share must bear it, or rlctl dies of a signal."""

import subprocess
import sys

import msgspec
import pytest

from ctl_statuses import status
from rlagent.protocol.logs import LogLine
from rlagent.protocol.messages import Done, Explanation, HistoryEntry
from rlctl import remote

RUNS = 8
"""So often a fresh interpreter meets the types: without care about every second one crashes."""
ENTRY = HistoryEntry(seq=1, at="2026-01-01T00:00:00Z", kind="agent_started", summary="started", decisions=["a", "b"])
RESULTS = {
    "status:AgentStatus": status(),
    "messages:Done": Done(decisions=["a"]),
    "messages:Explanation": Explanation(next_action="a", lines=["b"]),
    "messages:HistoryEntry": [ENTRY],
}
PROGRAM = """
import sys, threading
from importlib import import_module
from pathlib import Path

sys.setswitchinterval(1e-6)  # threads take turns after every few instructions
from rlagent.protocol import logs, messages
from rlctl import fleet
from rlctl.channel import Completed
from rlctl.hosts import Host
from rlctl.identity import Identities

module, name = sys.argv[1].split(":")
kind = getattr(import_module(f"rlagent.protocol.{module}"), name)
answer, line, listed = sys.argv[2].encode(), sys.argv[3].encode(), sys.argv[4] == "list"
hosts = [Host(f"h{number}", f"h{number}") for number in range(64)]
together = threading.Barrier(len(hosts))

class Line:
    def call(self, request, deadline):
        together.wait(60)
        logs.decode(line)
        ping = b'"verb":"ping"' in request
        return Completed(0, b'{"ok":true,"result":{"version":"1","host_uuid":"u"}}' if ping else answer, b"")

fleet.open_channel = lambda host: Line()
asked = fleet.Fleet(hosts, 60, Identities(Path(sys.argv[5])), print)
for outcome in asked.ask(messages.Explain(), list[kind] if listed else kind):
    if outcome.error:
        raise SystemExit(str(outcome.error))
"""


@pytest.mark.parametrize("kind", RESULTS)
def test_64_hosts_answer_at_once(kind, tmp_path):
    result = RESULTS[kind]
    answer = msgspec.json.encode({"ok": True, "result": result}).decode()
    line = msgspec.json.encode(LogLine(source="Pong", at=1.0, text="step", place="1")).decode()
    words = (kind, answer, line, "list" if isinstance(result, list) else "one", tmp_path / "pins")
    runs = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, *map(str, words)], stderr=subprocess.PIPE, text=True)
        for _ in range(RUNS)
    ]
    assert [(run.communicate()[1], run.returncode) for run in runs] == [("", 0)] * RUNS


def test_no_two_connections_share_a_configuration():
    one, other = remote._configuration(), remote._configuration()
    assert one is not other
