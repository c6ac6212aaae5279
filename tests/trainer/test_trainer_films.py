"""Films, and what `rltrain eval` says of games: pixels, times and figures."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from rltrainer import evaluate, video
from rltrainer.checkpoint_file import Checkpoint, Header
from rltrainer.cli import Evaluate
from rltrainer.evaluate import EpisodeReport
from rltrainer.tally import Tally
from rltrainer.video import Film


def screens(count):
    """Pictures of two colours each; seven colours in all, some of which differ in one part only."""
    colours = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (1, 2, 3), (1, 2, 4), (200, 100, 50)]
    for number in range(count):
        screen = np.empty((210, 160, 3), np.uint8)
        screen[:100] = colours[number % 7]
        screen[100:] = colours[(number + 1) % 7]
        yield screen


@pytest.mark.parametrize(("suffix", "kind"), list(evaluate.VIDEO_FORMATS.items()))
def test_a_film_shows_each_screen_in_its_exact_colours_for_70_ms_and_begins_again(tmp_path, suffix, kind):
    film, path = Film(), tmp_path / f"film{suffix}"
    for screen in screens(7):
        film.add(screen)
    film.write(path, kind)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    with Image.open(path) as shown:
        assert (shown.format, shown.size, shown.n_frames, shown.info["loop"]) == (kind, (160, 210), 7, 0)
        for number, screen in enumerate(screens(7)):
            shown.seek(number)
            if kind != "WEBP":  # which tells the time at a frame's end, and rounds colours
                assert shown.info["duration"] == 70
                assert np.array_equal(np.asarray(shown.convert("RGB")), screen)


def test_a_film_is_cut_after_two_minutes(monkeypatch):
    assert video.STEPS_MAX == 2 * 60 * 15
    monkeypatch.setattr(video, "STEPS_MAX", 3)
    film, seen = Film(), []
    for screen in screens(5):
        film.add(screen)
        seen.append((len(film._frames), film.is_cut))
    assert seen == [(1, False), (2, False), (3, False), (3, True), (3, True)]


def test_a_film_that_cannot_be_written_leaves_nothing(tmp_path):
    film = Film()
    film.add(next(screens(1)))
    with pytest.raises(OSError, match="No such file"):
        film.write(tmp_path / "missing" / "film.gif", "GIF")
    assert list(tmp_path.iterdir()) == []


def report(**changes):
    tally = Tally(global_step=640)
    header = Header(game="ms_pacman", written_by="1", saved_at=1.0, tally=tally, metrics_offset=0)
    checkpoint = Checkpoint(Path("run/checkpoints/ckpt-000000000640.pt"), header, b"", b"")
    wanted = Evaluate(**({"run_dir": Path("run"), "seed": 5} | changes))
    episodes = [
        EpisodeReport(episode=number, episodic_return=score, episodic_length=100 * number)
        for number, score in enumerate((10.0, 40.0, 10.0), 1)
    ]
    return evaluate._report(wanted, checkpoint, episodes)


def test_figures_are_those_of_the_games():
    """10, 40 and 10 have mean 20 and a variance of (100 + 400 + 100) / 3."""
    found = json.loads(evaluate._json(report(repeat_action_probability=0.25, greedy=True, video=Path("a.gif"))))
    assert found.pop("std_return") == pytest.approx(200**0.5)
    assert found == {
        "schema_version": 1, "game": "MsPacman", "run_dir": "run", "checkpoint": "ckpt-000000000640.pt",
        "global_step": 640, "policy": "greedy", "seed": 5, "repeat_action_probability": 0.25,
        "episodes": [
            {"episode": 1, "episodic_return": 10.0, "episodic_length": 100},
            {"episode": 2, "episodic_return": 40.0, "episodic_length": 200},
            {"episode": 3, "episodic_return": 10.0, "episodic_length": 300},
        ],
        "mean_return": 20.0, "best_return": 40.0, "worst_return": 10.0, "video": "a.gif",
    }  # fmt: skip


def test_the_table_says_the_same_to_people():
    assert evaluate._table(report()).splitlines() == [
        "game         MsPacman",
        "checkpoint   ckpt-000000000640.pt, step 640",
        "episodes     3 (sample, seed 5)",
        "mean return  20.0",
        "std          14.1",
        "best         40",
        "worst        10",
    ]
    assert evaluate._table(report(video=Path("a.gif"))).splitlines()[-1] == "video        a.gif"


class ScriptedGame:
    """Stands in for the emulator: four steps of 7, 0, -2 and 30 points."""

    def __init__(self, rules, seed, stack):
        self.rules, self.seed, self.played = rules, seed, []
        self.num_actions = 18 if rules.full_action_space else 4

    def reset(self):
        self.played = []

    def step(self, action):
        self.played.append(action)
        return (7, 0, -2, 30)[len(self.played) - 1], len(self.played) == 4


@pytest.fixture
def player(monkeypatch):
    """Makes players of scripted games whose actor knows so many actions, and likes the second best."""
    from rltrainer import episode  # noqa: PLC0415 - torch

    monkeypatch.setattr(episode, "Game", ScriptedGame)

    def maker(num_actions=4, **options):
        import torch  # noqa: PLC0415

        log_probs = torch.log_softmax(torch.tensor([[0.1, 0.6, *[0.2] * (num_actions - 2)]]) * 3, -1)
        bias = SimpleNamespace(shape=(num_actions,))

        class Actor:
            def get_parameter(self, _name):
                return bias

            def __call__(self, obs):
                assert obs.shape == (1, 84, 84, 4)
                return log_probs, None

        monkeypatch.setattr(episode.snapshot, "actor", lambda _payload: Actor())
        return episode.Player(b"", "breakout", Evaluate(Path("run"), **options))

    return maker


def test_an_episode_is_its_points_and_its_steps_and_each_but_the_last_is_shown(player):
    seen = []
    assert player().play(1, lambda score, steps: seen.append((score, steps))) == (35, 4)
    assert seen == [(7, 1), (7, 2), (5, 3)]


def test_greedy_play_takes_the_likeliest_action_and_sampling_the_others_too(player):
    def taken(**options):
        chosen = []
        for number in range(1, 51):
            one = player(**options)
            one.play(number, lambda *_: None)
            chosen += one._game.played
        return [chosen.count(action) for action in range(4)]

    assert taken(greedy=True) == [0, 200, 0, 0]
    counts = taken()
    assert max(counts) == counts[1] < 160
    assert min(counts) > 10


def test_each_game_has_a_seed_of_its_own_and_chance_that_is_not_the_games(player):
    games, played = [], []
    for seed, number in ((1, 1), (1, 2), (2, 1), (1, 1)):
        one = player(seed=seed)
        one.play(number, lambda *_: None)
        games.append(one._game.seed)
        played.append(one._game.played)
    assert games[0] == games[3]
    assert played[0] == played[3]
    assert len(set(games)) == 3
    assert games[0] == int(np.random.SeedSequence([1, 1]).generate_state(1, np.uint64)[0])


def test_an_actor_plays_by_the_rules_that_have_its_number_of_actions(player):
    one = player(num_actions=18, noop_max=5, repeat_action_probability=0.25)
    rules = one._game.rules
    assert (rules.rom, rules.full_action_space) == ("breakout", True)
    assert (rules.noop_max, rules.repeat_action_probability) == (5, 0.25)
    assert player()._game.rules.full_action_space is False
    with pytest.raises(evaluate.ConfigurationError, match="knows 5 actions, which breakout doesn't have"):
        player(num_actions=5)
