"""The on-host agent: keeps trainers running, enforces the scaling policy, survives reboots, explains itself."""

__version__ = "0.1.0"
