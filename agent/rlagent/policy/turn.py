"""One turn of the policy: a state that is worked on and the decisions that are gathered while one event is handled.

The only mutable thing in the policy; it never leaves `step`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from rlagent.policy.decisions import Decision, DecisionKind
from rlagent.policy.model import WITH_SLOT, Game, Rules, State


class Turn:
    """A state in work."""

    def __init__(self, state: State, rules: Rules, t: float, wall: float) -> None:
        self.state = state
        self.rules = rules
        self.t = t
        self.wall = wall
        self.decisions: list[Decision] = []

    def set(self, **changes: Any) -> None:  # noqa: ANN401  # the fields of State
        """Change fields of the state."""
        self.state = msgspec.structs.replace(self.state, **changes)

    def set_game(self, name: str, **changes: Any) -> None:  # noqa: ANN401  # the fields of Game
        """Change fields of a game; a new status stamps `since`."""
        self.set(games=tuple([self._changed(g, changes) if g.name == name else g for g in self.state.games]))

    def set_games(self, changes: Callable[[Game], dict[str, Any]]) -> None:
        """Change fields of every game, each its own."""
        self.set(games=tuple([self._changed(game, changes(game)) for game in self.state.games]))

    def _changed(self, game: Game, changes: dict[str, Any]) -> Game:
        if changes.get("status", game.status) != game.status:
            changes = {"since": self.t, **changes}
        return msgspec.structs.replace(game, **changes)

    def say(self, kind: DecisionKind, reason: str, **details: Any) -> None:  # noqa: ANN401  # the fields of Decision
        """Record a decision with its reason."""
        self.decisions.append(Decision(kind=kind, reason=reason, **details))

    @property
    def slotted(self) -> list[Game]:
        """Games with a slot, in queue order."""
        return [game for game in self.state.games if game.status in WITH_SLOT]
