"""One game's preprocessing, frame by frame, on an emulator that follows a script."""

import random

import numpy as np
import pytest
from ale_py import Action

from rltrainer.atari import game as game_module
from rltrainer.atari.game import Game
from rltrainer.atari.rules import OBS_SHAPE, Rules

NOOP, FIRE, UP, DOWN = Action.NOOP, Action.FIRE, Action.UP, Action.DOWN


class Emulator:
    """Stands in for ALE: a frame is as bright all over as the script says of it; it notes what it is told.

    Frames are counted from the last reset; frame 0 is what a reset shows.
    """

    actions = (NOOP, FIRE, UP, DOWN)
    brightness: dict[int, int]
    points: dict[int, int]
    ends_after: int | None

    def __init__(self):
        self.told, self.options, self.frame = [], {}, 0

    def setInt(self, name, value):  # noqa: N802 - ALE's names
        self.options[name] = value

    setFloat = setInt  # noqa: N815

    def loadROM(self, path):  # noqa: N802
        self.options["rom"] = path

    def getMinimalActionSet(self):  # noqa: N802
        return list(self.actions)

    def getLegalActionSet(self):  # noqa: N802
        return list(Action.__members__.values())

    def getScreenDims(self):  # noqa: N802
        return 210, 160

    def lives(self):
        return 3

    def reset_game(self):
        self.told.append("reset")
        self.frame = 0

    def act(self, action):
        self.told.append(action)
        self.frame += 1
        return self.points.get(self.frame, 0)

    def game_over(self):
        return self.frame == self.ends_after

    def getScreenGrayscale(self, screen):  # noqa: N802
        assert screen.shape == (210, 160)
        screen[:] = self.brightness.get(self.frame, 0)


@pytest.fixture
def make(monkeypatch):
    """Makes a game on an emulator with this script; returns it, the emulator and its stack of frames."""

    def maker(*, brightness=(), points=(), ends_after=None, actions=Emulator.actions, seed=1, **rules):
        members = {
            "brightness": dict(enumerate(brightness)), "points": dict(enumerate(points)), "actions": actions,
            "ends_after": ends_after,
        }  # fmt: skip
        monkeypatch.setattr(game_module, "ALEInterface", type("Scripted", (Emulator,), members))
        stack = np.full(OBS_SHAPE, 99, np.uint8)
        defaults = {"noop_max": 0, "repeat_action_probability": 0.0, "full_action_space": False}
        game = Game(Rules(**({"rom": "pong"} | defaults | rules)), seed, stack)
        return game, game._ale, stack

    return maker


def shades(stack):
    """The brightness of each of the four frames, oldest first; each must be the same all over."""
    found = stack.reshape(-1, 4)
    assert (found == found[0]).all()
    return found[0].tolist()


def test_after_a_reset_only_the_newest_frame_is_filled(make):
    """It is what is seen after FIRE, the first frame."""
    game, _, stack = make(brightness=[5, 60])
    game.reset()
    assert shades(stack) == [0, 0, 0, 60]


def test_a_step_shows_the_brighter_of_its_last_two_frames_and_pushes_the_oldest_out(make):
    """Frame 0 is the reset, 1 is FIRE, then four for each step; the brightest of each step is not to be seen."""
    game, _, stack = make(brightness=[5, 60, 200, 201, 50, 30, 210, 211, 31, 51, 220, 221, 52, 32, 230, 231, 33, 53])
    game.reset()
    seen = []
    for _ in range(4):
        game.step(0)
        seen.append(shades(stack))
    assert seen == [[0, 0, 60, 50], [0, 60, 50, 51], [60, 50, 51, 52], [50, 51, 52, 53]]


def test_the_brighter_is_taken_for_each_pixel_by_itself(make):
    """The third frame is bright above, the fourth below."""
    game, ale, stack = make()
    game.reset()

    def half_bright(screen):
        screen[:] = 0
        if ale.frame == 4:
            screen[:105] = 70
        elif ale.frame == 5:
            screen[105:] = 80

    ale.getScreenGrayscale = half_bright
    game.step(0)
    assert set(stack[:42, :, 3].flat) == {70}
    assert set(stack[42:, :, 3].flat) == {80}


def test_a_new_game_begins_with_an_empty_stack(make):
    game, _, stack = make(brightness=[5, 60, 1, 2, 3, 4], ends_after=7)
    game.reset()
    game.step(0)
    assert shades(stack) == [0, 0, 60, 4]
    assert game.step(0)[1] is True
    assert shades(stack) == [0, 0, 0, 60]


def test_an_action_is_played_for_four_frames_and_their_points_are_added(make):
    """In the reset's FIRE nobody scores for the actor."""
    game, ale, _ = make(points=[0, 1000, 1, 20, 300, -4000, 7, 0, 0, 70])
    game.reset()
    assert game.step(2) == (-3679, False)
    assert game.step(3) == (77, False)
    assert ale.told == ["reset", FIRE, UP, UP, UP, UP, DOWN, DOWN, DOWN, DOWN]


def test_a_game_that_ends_is_begun_anew_and_the_rest_of_the_step_is_not_played(make):
    """It ends with the second frame of the second step; lives and points are of that moment."""
    game, ale, _ = make(points=[0, 0, 0, 0, 0, 0, 30, 5, 600], ends_after=7)
    game.reset()
    assert game.step(2) == (0, False)
    assert game.step(3) == (35, True)
    assert ale.told == ["reset", FIRE, UP, UP, UP, UP, DOWN, DOWN, "reset", FIRE]
    assert game.lives == 3


def test_in_a_game_without_fire_none_is_pressed(make):
    game, ale, _ = make(actions=(NOOP, UP, DOWN), full_action_space=True)
    game.reset()
    game.step(3)
    assert ale.told == ["reset", *[Action.RIGHT] * 4], "18 actions to choose from, but none is needed to begin"
    assert game.num_actions == 18


def test_idle_frames_come_before_fire_and_their_number_is_drawn_from_all_that_are_allowed(make):
    """From none to three, each about as often; not stepped, so that `told` holds resets alone."""
    game, ale, _ = make(noop_max=3)
    for _ in range(400):
        game.reset()
    starts = " ".join(each if each == "reset" else each.name for each in ale.told).split("reset")[1:]
    counts = [start.split().count("NOOP") for start in starts]
    assert all(start.split() == ["NOOP"] * count + ["FIRE"] for start, count in zip(starts, counts, strict=True))
    assert [counts.count(number) > 70 for number in range(5)] == [True, True, True, True, False]


def test_a_game_that_ends_while_idle_is_begun_again(make):
    game, ale, _ = make(ends_after=1, seed=8)
    game.reset()
    assert ale.told == ["reset", FIRE, "reset"]


def drawn(seed, sticky, steps):
    """The actions of a sticky game, drawn as it is described: before each frame, also of the start."""
    chance = random.Random(seed)
    held, frames = NOOP, []
    for wanted in [*[NOOP] * chance.randint(0, 5), FIRE, *[action for action in steps for _ in range(4)]]:
        if chance.random() >= sticky:
            held = wanted
        frames.append(held)
    return frames


def test_each_frame_for_itself_may_repeat_the_frame_before(make):
    steps = [UP if number % 2 else DOWN for number in range(300)]
    game, ale, _ = make(noop_max=5, repeat_action_probability=0.3, seed=8)
    game.reset()
    for action in steps:
        game.step(game._actions.index(action))
    told = ale.told[1:]
    assert told == drawn(8, 0.3, steps)
    # A step's frames repeat the step before with probability 0.3, 0.3^2, 0.3^3 and 0.3^4.
    frames = np.array([action.value for action in told[-1200:]]).reshape(300, 4)
    late = frames[1:] != np.array([action.value for action in steps[1:]])[:, None]
    assert late.mean(0) == pytest.approx([0.3, 0.09, 0.027, 0.0081], abs=0.06)


def test_without_stickiness_no_chance_is_drawn_for_a_frame(make):
    game, _, _ = make(seed=8)
    game.reset()
    before = game._rng.getstate()
    game.step(1)
    assert game._rng.getstate() == before


def test_a_new_game_has_nothing_to_repeat(make):
    """All frames are sticky: whatever the last game held, the new one idles."""
    game, ale, _ = make(repeat_action_probability=1.0)
    game._held = UP
    game.reset()
    game.step(3)
    assert ale.told == ["reset", *[NOOP] * 5]


def test_the_emulator_is_set_up_without_chance_of_its_own_and_with_half_an_hour_to_play(make):
    _, ale, _ = make(seed=2**40 + 2**31 + 5)
    rom = ale.options.pop("rom")
    assert rom.name == "pong.bin"
    assert ale.options == {
        "random_seed": 5,
        "repeat_action_probability": 0.0,
        "max_num_frames_per_episode": 30 * 60 * 60,
    }
