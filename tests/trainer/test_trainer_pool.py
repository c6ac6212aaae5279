"""Workers and the memory they share: who plays what, where it lies, and how an end is told."""

import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rltrainer.atari import game, memory, pool, worker
from rltrainer.atari.messages import Reset, Restore, Save, Setup
from rltrainer.atari.pool import Pool
from rltrainer.atari.rules import Rules
from rltrainer.atari.worker import Worker

RULES = Rules(rom="pong", noop_max=30, repeat_action_probability=0.0, full_action_space=False)


def attached(num_envs):
    descriptor = memory.create(num_envs)
    arrays = memory.attach(descriptor, num_envs), memory.attach(descriptor, num_envs)
    os.close(descriptor)
    return arrays


@pytest.mark.parametrize("num_envs", [1, 3, 32])
def test_what_one_side_writes_the_other_reads_and_no_array_lies_in_another(num_envs):
    mine, theirs = attached(num_envs)
    assert {name: (array.shape, array.dtype.name) for name, array in vars(mine).items()} == {
        "obs": ((num_envs, 84, 84, 4), "uint8"), "actions": ((num_envs,), "int32"), "scores": ((num_envs,), "int32"),
        "over": ((num_envs,), "bool"), "lives": ((num_envs,), "int32"),
    }  # fmt: skip
    assert not any(array.any() for array in vars(mine).values())
    for number, array in enumerate(vars(mine).values(), 1):
        array[:] = number
    for number, array in enumerate(vars(theirs).values(), 1):
        assert (array == (True if array.dtype == np.bool_ else number)).all()


def test_each_array_begins_with_a_cache_line():
    """Of 3 environments: 84,672 bytes of frames are 1,323 lines, each of the others takes one."""
    places, size = memory._layout(3)
    assert places == {"obs": 0, "actions": 84_672, "scores": 84_736, "over": 84_800, "lives": 84_864}
    assert size == 84_928


@pytest.mark.parametrize(
    ("num_envs", "parts", "expected"),
    [(6, 1, [(0, 6)]), (6, 2, [(0, 3), (3, 6)]), (7, 3, [(0, 2), (2, 4), (4, 7)]), (2, 2, [(0, 1), (1, 2)])],
)
def test_groups_are_adjacent_and_about_alike(num_envs, parts, expected):
    assert [(group.start, group.stop) for group in pool._split(range(num_envs), parts)] == expected


def setups(monkeypatch, **sizes):
    """What each worker of a pool is told, without starting one."""
    told = []
    monkeypatch.setattr(pool, "_start", lambda setup, _: told.append(setup))
    Pool(RULES, seed=5, **sizes)._workers.clear()
    return told


def test_each_worker_has_its_share_of_every_group(monkeypatch):
    told = setups(monkeypatch, num_envs=7, num_workers=2, num_groups=2)
    assert [setup.groups for setup in told] == [[[0, 2], [3, 5]], [[1], [4, 6]]]
    assert {(setup.seed, setup.num_envs, setup.rules) for setup in told} == {(5, 7, RULES)}


def test_there_are_no_more_workers_than_environments_in_the_smallest_group(monkeypatch):
    assert len(setups(monkeypatch, num_envs=5, num_workers=4, num_groups=2)) == 2
    assert len(setups(monkeypatch, num_envs=3, num_workers=4)) == 3
    assert len(setups(monkeypatch, num_envs=8, num_workers=4)) == 4


@pytest.mark.parametrize(
    ("returncode", "expected"),
    [
        (-signal.SIGKILL, "was killed by SIGKILL (out of memory?)"),
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (0, "ended with exit code 0"),
        (1, "ended with exit code 1"),
        (None, "closed its connection"),
    ],
)
def test_an_end_is_told_in_words(returncode, expected):
    assert pool._ending(returncode) == expected


def test_a_worker_that_does_not_end_by_itself_is_killed():
    """It ignores that its trainer has gone; nothing is left of it, and one that ends is not killed."""
    deaf = subprocess.Popen(["sleep", "1000"])
    obedient = subprocess.Popen(["true"])
    closed, counters = [], [os.eventfd(0) for _ in range(4)]
    connection = SimpleNamespace(close=lambda: closed.append(1))
    ended = object.__new__(Pool)
    ended._workers = [
        SimpleNamespace(process=deaf, connection=connection, go=counters[:1], done=counters[1:2]),
        SimpleNamespace(process=obedient, connection=connection, go=counters[2:3], done=counters[3:]),
    ]
    try:
        ended.close()
    finally:
        deaf.kill()
    assert (deaf.returncode, obedient.returncode) == (-signal.SIGKILL, 0)
    assert ended._workers == []
    assert len(closed) == 2, "their news that it has gone"
    assert not any(Path(f"/proc/self/fd/{each}").exists() for each in counters)


@pytest.fixture
def games(monkeypatch):
    """A worker's two groups of games, each of which notes what is done with it."""

    class Noted:
        num_actions = 6

        def __init__(self, rules, seed, stack):
            self.seed, self.stack, self.done, self.lives = seed, stack, [], 5

        def step(self, action):
            self.done.append(("step", action))
            self.lives -= 1
            return 10 * action, action == 3

        def reset(self):
            self.done.append("reset")
            self.lives = 3

        def save(self):
            return f"state {self.seed}"

        def restore(self, state):
            self.done.append(("restore", state))
            self.lives = 2

    monkeypatch.setattr(worker, "Game", Noted)
    arrays, _ = attached(6)
    made = Worker(Setup(rules=RULES, seed=5, num_envs=6, groups=[[0, 2], [5]]), arrays)
    return made, arrays, made._games


def test_a_worker_plays_a_groups_actions_and_no_others(games):
    made, arrays, noted = games
    arrays.actions[:] = [1, 2, 3, 4, 5, 6]
    made.step(0)
    assert {env: each.done for env, each in noted.items()} == {0: [("step", 1)], 2: [("step", 3)], 5: []}
    assert arrays.scores.tolist() == [10, 0, 30, 0, 0, 0]
    assert arrays.over.tolist() == [False, False, True, False, False, False]
    assert arrays.lives.tolist() == [4, 0, 4, 0, 0, 0]
    made.step(1)
    assert noted[5].done == [("step", 6)]
    assert made.num_actions == 6


def test_each_environments_game_has_its_own_seed_and_its_own_frames(games):
    _, arrays, noted = games
    assert len({each.seed for each in noted.values()}) == 3
    for env, each in noted.items():
        each.stack[:] = env + 1
    assert [int(frames.max()) for frames in arrays.obs] == [1, 0, 3, 0, 0, 6]


def test_a_worker_saves_restores_and_resets_the_games_it_is_told_to(games):
    made, arrays, noted = games
    assert made.answer(Save()).states == {env: f"state {each.seed}" for env, each in noted.items()}
    assert made.answer(Restore(states={2: "there"})).states == {}
    assert made.answer(Reset(envs=[0])).states == {}
    assert {env: each.done for env, each in noted.items()} == {0: ["reset"], 2: [("restore", "there")], 5: []}
    assert arrays.lives.tolist() == [3, 0, 2, 0, 0, 0]
    with pytest.raises(ValueError, match="set up twice"):
        made.answer(Setup(rules=RULES, seed=5, num_envs=6, groups=[]))


def test_a_rom_that_ale_py_lacks_is_named():
    lacking = Rules(rom="no_such_game", noop_max=0, repeat_action_probability=0.0, full_action_space=False)
    with pytest.raises(RuntimeError, match="ale_py has no ROM no_such_game"):
        game.Game(lacking, 1, np.zeros((84, 84, 4), np.uint8))
