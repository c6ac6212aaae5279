"""Atari games in worker processes: `pool` is the parent's side, `worker` a process, `game` one emulator in it.

Knows neither torch nor learning: raw scores, lives and stacked frames go out, actions come in.
"""
