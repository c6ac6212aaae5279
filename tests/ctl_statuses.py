"""Statuses of hosts for the tests of rlctl, with plausible numbers."""

from __future__ import annotations

import datetime as dt
from typing import Any

from rlagent.protocol import status as st


def trainer(game: str, state: st.TrainerState = "RUNNING", **changes: Any) -> st.TrainerStatus:
    """Return a trainer with plausible numbers."""
    values: dict[str, Any] = {
        "pid": 4121,
        "attempt": 1,
        "global_step": 8_100_000,
        "sps": 2101.4,
        "episodes": 8101,
        "episodes_per_hour": 412.2,
        "best_return": 4230.0,
        "mean_return_100": 1912.34,
        "checkpoint_age_s": 42.0,
        "progress": 0.81,
        "target_frames": 40_000_000,
    }
    return st.TrainerStatus(game=game, state=state, **(values | changes))


def queued(game: str, state: st.TrainerState = "QUEUED", **changes: Any) -> st.TrainerStatus:
    """Return a game without a slot."""
    return st.TrainerStatus(game=game, state=state, **changes)


def status(**changes: Any) -> st.AgentStatus:
    """Return a healthy host's status, with changes."""
    trainers = changes.pop("trainers", [trainer("MsPacman"), trainer("Pong", pid=4122)])
    values: dict[str, Any] = {
        "written_at": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "agent": st.AgentInfo(version="0.1.0", pid=77, host_uuid="6f1c", uptime_s=266_400.0, rss_mib=31.0),
        "mode": "medium",
        "mode_since": "2026-11-23T10:00:00Z",
        "in_mode_s": 8040.0,
        "ladder": ["light", "medium", "heavy"],
        "uptime_s": 270_000.0,
        "host": st.HostReadings(
            cpu_count=4,
            load_1m=3.8,
            memory_total_mib=32768.0,
            memory_available_mib=20480.0,
            memory_pressure_percent=0.3,
            disk_free_mib=215_040.0,
            disk_total_mib=512_000.0,
        ),
        "gpu": [
            st.GpuStatus(
                index=0,
                name="NVIDIA A100 80GB PCIe",
                utilization_percent=87.0,
                memory_used_mib=31_949.0,
                memory_total_mib=81_920.0,
                temperature_c=61.0,
                power_w=285.0,
            )
        ],
        "stable_s": 2520.0,
        "stable_needed_s": 3600.0,
        "incidents_last_hour": 0,
        "reboots_last_hour": 0,
        "incidents": [],
        "trainers": trainers,
        "games": [*trainers, queued("Breakout"), queued("Qbert", "EXITED")],
        "alerts": [],
        "next_action": st.NextAction(
            kind="promote",
            at="2026-11-23T14:05:00Z",
            in_s=1080.0,
            reason="to heavy: 60 min stable then, if nothing crashes",
        ),
        "projection": st.Projection(hours_left=12.4),
    }
    return st.AgentStatus(**(values | changes))
