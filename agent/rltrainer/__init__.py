"""The Atari trainer: PPO on games in worker processes over ale_py's bare emulator, with verified checkpoints.

It knows nothing of the agent but the trainer contract (`rlagent.protocol`), so it also runs alone. Importing the
package is cheap: torch, numpy and the games are imported by the modules that compute with them, after the first sign of
life.
"""

__version__ = "0.1.0"
