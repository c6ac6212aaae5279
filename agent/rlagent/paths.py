"""Where everything of the agent lies under its state directory; only names, nothing is opened here."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Paths:
    """The layout of a state directory."""

    state_dir: Path

    @property
    def journal(self) -> Path:
        """The append-only log of events and decisions."""
        return self.state_dir / "journal.sqlite3"

    @property
    def socket(self) -> Path:
        """Where the agent listens."""
        return self.state_dir / "agent.sock"

    @property
    def host_uuid(self) -> Path:
        """This host's identity, made once; it outlives a journal that was moved away."""
        return self.state_dir / "host_uuid"

    @property
    def lock(self) -> Path:
        """Held by the running agent: there is never a second one."""
        return self.state_dir / "agent.lock"

    @property
    def status_json(self) -> Path:
        """The last status, for tools."""
        return self.state_dir / "status.json"

    @property
    def state_toml(self) -> Path:
        """Where the policy stands, for people."""
        return self.state_dir / "state.toml"

    @property
    def logs(self) -> Path:
        """Log files: the agent's own, and one a game."""
        return self.state_dir / "logs"

    @property
    def agent_log(self) -> Path:
        """The agent's own log."""
        return self.logs / "agent.log"

    def game_log(self, game: str) -> Path:
        """Return the log of a game's trainers."""
        return self.logs / f"{game}.log"

    @property
    def runs(self) -> Path:
        """The folders of all games' runs."""
        return self.state_dir / "runs"

    def run_dir(self, game: str) -> Path:
        """Return the folder of a game's run: checkpoints, metrics, progress."""
        return self.runs / game

    def progress_file(self, game: str) -> Path:
        """Return the file that a game's trainer reports in."""
        return self.run_dir(game) / "progress.json"
