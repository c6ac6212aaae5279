"""From raw scores and lives to what the learner sees, and to whole games, on workers that follow a script."""

from types import SimpleNamespace

import numpy as np
import pytest

from rltrainer import envs as envs_module
from rltrainer.atari.rules import OBS_SHAPE, GameState
from rltrainer.envs import EnvsState, Episode, GameEnvs
from trainer_runs import tiny_args


class ScriptedPool:
    """Stands in for the workers: each group's step takes the next line of its script, (scores, over, lives)."""

    def __init__(self, rules, *, seed, num_envs, num_workers, num_groups):
        self.told = SimpleNamespace(rules=rules, seed=seed, num_workers=num_workers, sent=[], reset=[], restored=[])
        bounds = [num_envs * part // num_groups for part in range(num_groups + 1)]
        self.groups = [range(*bounds[part : part + 2]) for part in range(num_groups)]
        self.arrays = SimpleNamespace(
            obs=np.zeros((num_envs, *OBS_SHAPE), np.uint8),
            actions=np.zeros(num_envs, np.int32),
            scores=np.zeros(num_envs, np.int32),
            over=np.zeros(num_envs, np.bool_),
            lives=np.zeros(num_envs, np.int32),
        )
        self.script = []
        self.begins_with = 3
        self.num_actions, self.pids = 6, [11, 12]

    def send(self, group):
        self.told.sent.append((group, self.arrays.actions[self.groups[group]].tolist()))

    def receive(self, group):
        part = slice(self.groups[group].start, self.groups[group].stop)
        self.arrays.scores[part], self.arrays.over[part], self.arrays.lives[part] = self.script.pop(0)

    def reset(self, envs):
        self.told.reset.append(list(envs))
        self.arrays.lives[list(envs)] = self.begins_with

    def save(self):
        return [GameState(emulator=b"%d" % env, rng=b"r", held=env) for env in range(len(self.arrays.lives))]

    def restore(self, states):
        self.told.restored.append(states)
        for env in states:
            self.arrays.lives[env] = 2


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes environments on scripted workers; returns them and the workers."""
    monkeypatch.setattr(envs_module, "Pool", ScriptedPool)

    def maker(num_envs=3, num_groups=1, start=0, script=(), **options):
        args = tiny_args(tmp_path, num_envs=num_envs, batch_size=num_envs, **options)
        games = GameEnvs("breakout", args, start=start, num_groups=num_groups)
        games._pool.script = list(script)
        games.reset()
        return games, games._pool

    return maker


def line(scores, over=(0, 0, 0), lives=(3, 3, 3)):
    return np.array(scores), np.array(over, np.bool_), np.array(lives)


def played(games):
    return games.step(np.array([1, 2, 3]))


def test_learning_sees_the_sign_of_a_score(make):
    games, _ = make(script=[line([7, -20, 0])])
    rewards = played(games).rewards
    assert (rewards.tolist(), rewards.dtype) == ([1.0, -1.0, 0.0], np.float32)


def test_without_clipping_it_sees_the_score_itself(make):
    games, _ = make(script=[line([7, -20, 0])], clip_rewards=False)
    rewards = played(games).rewards
    assert (rewards.tolist(), rewards.dtype) == ([7.0, -20.0, 0.0], np.float32)


def test_a_lost_life_ends_an_episode_and_a_won_one_or_none_does_not(make):
    """The first environment loses one, then wins two, then loses two at once; the third never has any."""
    games, pool = make()
    pool.arrays.lives[2] = games._lives[2] = 0
    pool.script = [
        line([0] * 3, lives=(2, 3, 0)),
        line([0] * 3, lives=(4, 3, 0)),
        line([0] * 3, lives=(4, 2, 0)),
        line([0] * 3, lives=(2, 2, 0)),
    ]
    assert [played(games).dones.tolist() for _ in range(4)] == [
        [True, False, False],
        [False, False, False],
        [False, True, False],
        [True, False, False],
    ]


def test_the_last_life_ends_an_episode_only_with_the_game(make):
    """Lives may be at zero for some steps before the emulator says that it is over; the next game's come after that."""
    games, _ = make(script=[line([0] * 3, lives=(1, 3, 3)), line([0] * 3, lives=(0, 3, 3)),
                            line([0] * 3, over=(1, 0, 0), lives=(3, 3, 3)), line([0] * 3)])  # fmt: skip
    assert [played(games).dones[0] for _ in range(4)] == [True, False, True, False]


def test_a_game_that_ends_with_fewer_lives_at_the_next_ones_start_is_one_end(make):
    games, _ = make(script=[line([0] * 3, over=(1, 0, 0), lives=(2, 3, 3)), line([0] * 3, lives=(2, 3, 3))])
    assert [played(games).dones[0] for _ in range(2)] == [True, False]


def test_without_episodic_life_only_the_games_end(make):
    games, _ = make(
        episodic_life=False, script=[line([0] * 3, lives=(2, 3, 3)), line([0] * 3, over=(1, 0, 0), lives=(3, 3, 3))]
    )
    assert [played(games).dones.tolist() for _ in range(2)] == [[False] * 3, [True, False, False]]


def test_what_a_step_returned_is_not_changed_by_the_next(make):
    games, _ = make(episodic_life=False, script=[line([1] * 3, over=(1, 0, 0)), line([0] * 3)])
    first = played(games)
    played(games)
    assert (first.dones.tolist(), first.rewards.tolist()) == ([True, False, False], [1.0] * 3)


def test_whole_games_are_counted_with_their_raw_score_and_their_steps_over_all_lives(make):
    """The second game of an environment counts from zero again."""
    games, _ = make(
        script=[
            line([7, 0, 1]),
            line([-2, 0, 1], lives=(2, 3, 3)),
            line([30, 5, 1], over=(1, 0, 1)),
            line([400, 5, 0], lives=(2, 2, 2)),
            line([1, 5, 0], over=(1, 1, 0)),
        ]
    )
    assert [played(games).episodes for _ in range(5)] == [
        [],
        [],
        [Episode(35.0, 3), Episode(3.0, 3)],
        [],
        [Episode(401.0, 2), Episode(15.0, 5)],
    ]


def test_groups_are_stepped_each_with_its_actions_and_told_of_together(make):
    games, pool = make(
        num_envs=5, num_groups=2,
        script=[(np.array([1, 2]), np.array([False, True]), np.array([3, 3])),
                (np.array([-3, 0, 5]), np.array([False, False, True]), np.array([3, 2, 3]))],
    )  # fmt: skip
    assert games.groups == [slice(0, 2), slice(2, 5)]
    step = games.step(np.array([4, 3, 2, 1, 5]))
    assert pool.told.sent == [(0, [4, 3]), (1, [2, 1, 5])]
    assert step.rewards.tolist() == [1.0, 1.0, -1.0, 0.0, 1.0]
    assert step.dones.tolist() == [False, True, False, True, True]
    assert step.episodes == [Episode(2.0, 1), Episode(5.0, 1)]


def test_games_are_saved_with_their_frames_scores_and_lengths(make):
    """Frames one after another: each environment's four pictures, oldest first."""
    games, _ = make(script=[line([7, -20, 0]), line([1, 1, 1], over=(0, 0, 1))])
    played(games)
    played(games)
    for env in range(3):
        for frame in range(4):
            games.obs[env, :, :, frame] = 10 * env + frame
    state = games.save()
    assert [each.held for each in state.games] == [0, 1, 2]
    assert (state.returns, state.lengths) == ([8, -19, 0], [2, 2, 0])
    assert state.frames == [b"".join(bytes([10 * env + frame]) * 84 * 84 for frame in range(4)) for env in range(3)]


def saved(num_envs):
    chance = np.random.default_rng(num_envs)
    return EnvsState(
        games=[GameState(emulator=b"%d" % env, rng=b"r", held=env) for env in range(num_envs)],
        frames=[chance.integers(0, 256, 4 * 84 * 84, np.uint8).tobytes() for _ in range(num_envs)],
        returns=[100 * env + 7 for env in range(num_envs)],
        lengths=[10 * env + 3 for env in range(num_envs)],
    )


@pytest.mark.parametrize(("known", "here"), [(3, 3), (2, 3), (4, 3)])
def test_games_go_on_from_a_state_and_those_that_it_does_not_hold_begin(make, known, here):
    """A game that has lost a life before the stop does not lose it again after it."""
    games, pool = make(num_envs=here)
    pool.told.reset.clear()
    state, go_on = saved(known), min(known, here)
    assert games.restore(state) == go_on
    assert pool.told.restored == [dict(enumerate(state.games[:go_on]))]
    assert pool.told.reset == [list(range(go_on, here))]
    again = games.save()
    assert again.frames[:go_on] == state.frames[:go_on]
    assert (again.returns[:go_on], again.lengths[:go_on]) == (state.returns[:go_on], state.lengths[:go_on])
    assert (again.returns[go_on:], again.lengths[go_on:]) == ([0] * (here - go_on), [0] * (here - go_on))
    assert games._lives.tolist() == [2] * go_on + [3] * (here - go_on)
    pool.script = [line([1] * 3, over=(1, 0, 0), lives=(3, *[2] * (go_on - 1), *[3] * (here - go_on)))]
    assert (step := played(games)).episodes == [Episode(8.0, 4)]
    assert step.dones.tolist() == [True, False, False]


def test_the_workers_are_told_how_to_play_and_each_start_is_seeded_otherwise(make):
    _, pool = make(noop_max=7, repeat_action_probability=0.25, full_action_space=True, threads=2)
    rules = pool.told.rules
    assert (rules.rom, rules.noop_max, rules.repeat_action_probability) == ("breakout", 7, 0.25)
    assert (rules.full_action_space, pool.told.num_workers) == (True, 2)
    places = [(3, 0), (3, 8), (4, 0), (4, 8), (8, 3)]
    seeds = [make(seed=seed, start=start)[1].told.seed for seed, start in places]
    assert len(set(seeds)) == len(places)
    assert seeds == [make(seed=seed, start=start)[1].told.seed for seed, start in places]


def test_actions_and_processes_are_the_workers(make):
    games, _ = make()
    assert (games.num_actions, games.worker_pids) == (6, [11, 12])
