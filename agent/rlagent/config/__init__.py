"""The agent's configuration: TOML to frozen types, validated strictly; `example.toml` is its documentation."""

from rlagent.config.parse import EXAMPLE, ConfigError, load, parse
from rlagent.config.rules import to_rules
from rlagent.config.schema import (
    AgentSection,
    Config,
    GameSection,
    GuardSection,
    ModeSection,
    PolicySection,
    SupervisorSection,
    TrainerSection,
)

__all__ = [
    "EXAMPLE",
    "AgentSection",
    "Config",
    "ConfigError",
    "GameSection",
    "GuardSection",
    "ModeSection",
    "PolicySection",
    "SupervisorSection",
    "TrainerSection",
    "load",
    "parse",
    "to_rules",
]
