"""The loop that plays, learns, saves and ends, with parts that only note what it does with them."""

from types import SimpleNamespace

import msgspec
import pytest
import torch
from torch import Tensor

from rltrainer import __version__, chance, snapshot, train
from rltrainer.envs import Episode
from rltrainer.errors import CheckpointNotSavedError, WorkerLostError
from rltrainer.ppo import Losses
from rltrainer.signals import StopSignal
from rltrainer.tally import Tally
from trainer_doubles import ACTIONS, ENVS, STEPS, NumberedEnvs, act
from trainer_runs import tiny_args

SIZES = {"num_envs": ENVS, "batch_size": ENVS * STEPS, "num_minibatches": 2, "update_epochs": 2, "env_groups": 1}
BATCH = ENVS * STEPS


class Noting:
    """Parts of a run, all of which write into one list what they were told."""

    def __init__(self, tmp_path, monkeypatch, *, global_step=0, **changes):
        self.events, self.batches, self.noise = [], [], []
        self.args = tiny_args(tmp_path, **({"target_frames": 4 * BATCH * 2} | SIZES | changes))
        self.envs = NumberedEnvs(1)
        self.saves = True
        self.run = train.Run(
            self.args, rom="pong", learner=self._learner(), envs=self.envs, store=None, report=self._report(),
            stop=StopSignal(), tally=Tally(global_step=global_step, iteration=global_step // BATCH),
        )  # fmt: skip
        self.run.checkpointer = SimpleNamespace(
            is_due=self._is_due,
            begin=lambda: self.events.append("begin"),
            save_now=lambda: self.events.append("save now") or self.saves,
            collect=lambda *, wait: self.events.append(f"collect {wait}"),
        )
        self.due_after_s = []
        self.is_due = False
        self.now_s = 100.0
        monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=self._tick, time=lambda: 7.5))

    def _tick(self):
        self.now_s += 2.5
        return self.now_s

    def _is_due(self, iteration_s):
        self.due_after_s.append(iteration_s)
        return self.is_due

    def _learner(self):
        def step(batch):
            self.batches.append(batch)
            return Losses(*[torch.tensor(float(len(self.batches)))] * 7)

        def noting_act(obs, noise):
            self.noise.append(noise)
            return act(obs, noise)

        return SimpleNamespace(
            device=torch.device("cpu"), act=noting_act, step=step, fetch=Tensor.cpu,
            set_learning_rate=lambda rate: self.events.append(("rate", rate)),
            share=lambda _: lambda: self.events.append("unshare"),
            model=SimpleNamespace(bf16=True), state=lambda: {"model": "its state"},
        )  # fmt: skip

    def _report(self):
        return SimpleNamespace(
            beat=lambda: None,
            settle=lambda: 321,
            phase=lambda name, *, finished=False: self.events.append((name, finished)),
            episode=self.events.append,
            iteration=lambda rate, losses: self.events.append((rate, losses["entropy"])),
            close=lambda: self.events.append("report closed"),
        )

    def told(self, *kinds):
        """The events of these kinds."""
        return [event for event in self.events if isinstance(event, kinds) and not isinstance(event, Episode)]

    def close(self):
        return self.events.append("envs closed")


@pytest.fixture
def make(tmp_path, monkeypatch):
    return lambda **changes: Noting(tmp_path, monkeypatch, **changes)


def test_a_run_to_its_target_plays_learns_and_reports_each_iteration_and_its_end(make):
    """Two iterations of two epochs of two minibatches; an entropy tells which gradient was the last."""
    it = make()
    assert train.train(it.run) is True
    assert it.told(tuple) == [
        ("training", False),
        ("rate", 2.5e-4), (2.5e-4, 4.0),
        ("rate", 1.25e-4), (1.25e-4, 8.0),
        ("checkpointing", False), ("done", True),
    ]  # fmt: skip
    assert it.told(str) == ["save now", "collect True", "report closed", "unshare"]
    assert it.envs.is_closed
    tally = it.run.tally
    assert (tally.global_step, tally.iteration, it.run.rollout.filled, it.run.minibatches) == (2 * BATCH, 2, 0, 0)
    assert [len(batch.obs) for batch in it.batches] == [BATCH // 2] * 8


def test_actions_are_drawn_with_the_noise_of_the_seed_and_the_iteration(make):
    it = make()
    train.train(it.run)
    expected = [torch.from_numpy(chance.gumbel(3, iteration, (STEPS, ENVS, ACTIONS))) for iteration in (0, 1)]
    played = [noise for noise in it.noise if noise.shape == (ENVS, ACTIONS)]
    drawn = torch.stack(played).reshape(2, STEPS + 1, ENVS, ACTIONS)[:, :STEPS]
    assert torch.equal(drawn, torch.stack(expected))


def test_returns_are_made_with_the_value_of_what_follows(make):
    """Of the last step of an environment that goes on: reward + gamma * what follows, which is 3 * its frame."""
    it = make(target_frames=4 * BATCH)
    train.train(it.run)
    last = {
        float(batch.obs[n, 0, 0, 0]): float(batch.returns[n]) for batch in it.batches for n in range(len(batch.obs))
    }
    for env in range(ENVS):
        goes_on = env % 3 != STEPS % 3
        assert last[env * 20.0 + STEPS - 1] == pytest.approx(
            env * 100 + STEPS + 0.99 * 3 * (env * 20 + STEPS) * goes_on, rel=1e-5
        )


def test_each_step_counts_all_environments_and_each_game_is_counted_and_told(make):
    it = make()
    games = [Episode(7.0, 30), Episode(-2.0, 40)]
    assert it.run.after_step(games) is True
    assert (it.run.tally.global_step, it.run.tally.episodes) == (ENVS, 2)
    assert (it.run.tally.best_return, it.run.tally.last_return) == (7.0, -2.0)
    assert it.events == games
    it.run.stop.requested = True
    assert it.run.after_step([]) is False
    assert it.run.tally.global_step == 2 * ENVS


def stopped_after_steps(it, count):
    """Ask to stop in a step of all environments."""
    after_step = it.run.after_step

    def counted(episodes):
        if it.run.tally.global_step + ENVS == count * ENVS:
            it.run.stop.requested = True
        return after_step(episodes)

    it.run.after_step = counted


def test_a_stop_within_a_rollout_is_saved_as_it_is_and_is_no_end(make):
    it = make()
    stopped_after_steps(it, 3)
    assert train.train(it.run) is False
    assert it.told(tuple) == [("training", False), ("rate", 2.5e-4), ("stopping", False), ("stopping", False)]
    assert it.told(str) == ["save now", "collect True", "report closed", "unshare"]
    assert (it.run.rollout.filled, it.run.tally.global_step, it.run.tally.iteration, it.batches) == (3, 3 * ENVS, 0, [])


def test_a_stop_within_an_update_keeps_its_minibatches_and_the_rollout(make):
    it = make()
    go_on, asked = it.run.go_on, []

    def ask():
        asked.append(1)
        it.run.stop.requested = len(asked) == STEPS + 3
        return go_on()

    it.run.go_on = ask
    assert train.train(it.run) is False
    assert (it.run.minibatches, len(it.batches), it.run.rollout.filled, it.run.tally.iteration) == (2, 2, STEPS, 0)


def test_an_iteration_goes_on_with_the_rate_of_its_beginning_and_without_looking_ahead_again(make):
    """Three of its four gradients are taken; what follows the rollout is known and stands in it."""
    it = make(global_step=2 * BATCH, target_frames=4 * BATCH * 8)
    it.run.rollout.filled, it.run.minibatches = STEPS, 3
    it.run.tally.iteration = 1
    player = train.Player(it.run.learner.act, it.run.learner.fetch, it.envs, it.run.after_step)
    assert train.iterate(it.run, player) is True
    assert it.told(tuple)[0] == ("rate", 2.5e-4 * (1 - 1 / 8))
    assert (len(it.batches), it.noise, it.run.tally.iteration, it.run.rollout.filled) == (1, [], 2, 0)


def test_a_run_that_is_over_its_target_finishes_what_it_has_begun(make):
    it = make(global_step=BATCH, target_frames=4 * BATCH)
    assert not train._unfinished(it.run)
    it.run.rollout.filled = 1
    assert train._unfinished(it.run)
    it.run.rollout.filled = 0
    it.run.tally.global_step -= 1
    assert train._unfinished(it.run)


def test_a_checkpoint_is_begun_when_it_is_due_by_the_time_of_an_iteration(make):
    """The clock is looked at twice in each, and goes on by 2.5 s each time."""
    it = make()
    it.is_due = True
    train.train(it.run)
    assert it.due_after_s == [2.5, 2.5]
    assert it.told(str)[:2] == ["begin", "begin"]


def test_a_last_checkpoint_that_fails_is_an_error_after_which_everything_is_closed(make):
    it = make()
    it.saves = False
    with pytest.raises(CheckpointNotSavedError, match="the last checkpoint could not be written"):
        train.train(it.run)
    assert ("done", True) not in it.events
    assert it.told(str) == ["save now", "collect True", "report closed", "unshare"]
    assert it.envs.is_closed


def test_a_worker_that_dies_ends_the_run_without_a_checkpoint_and_everything_is_closed(make):
    it = make()

    def lost(_group):
        raise WorkerLostError("gone")

    it.envs.receive = lost
    with pytest.raises(WorkerLostError):
        train.train(it.run)
    assert it.told(str) == ["collect True", "report closed", "unshare"]
    assert it.envs.is_closed


def test_a_checkpoint_holds_all_there_is_to_know_as_it_is_now(make):
    """What is counted later is not in it; the games and the learner are packed by the writing thread."""
    it = make(global_step=2 * BATCH)
    it.run.rollout.filled, it.run.minibatches = 2, 1
    it.run.tally.add_episode(5.0)
    shot = it.run._shoot()
    it.run.tally.add_episode(6.0)
    header = shot.header
    assert (header.game, header.written_by, header.saved_at, header.bf16) == ("pong", __version__, 7.5, True)
    assert (header.metrics_offset, header.frameskip) == (321, 4)
    assert header.tally == Tally(global_step=2 * BATCH, iteration=2, episodes=1, recent_returns=[5.0], best_return=5.0)
    assert msgspec.msgpack.decode(shot.envs()) == {"played": [0] * ENVS}
    assert len(shot.payload()) > 0


def interrupted(it, **changes):
    played = {name: tensor.clone() for name, tensor in it.run.rollout.tensors().items()}
    return snapshot.Interrupted(**({"sizes": snapshot.sizes(it.args), "played": played, "minibatches": 3} | changes))


def test_an_interrupted_iteration_goes_on_only_with_the_same_sizes(make, capfd):
    it = make()
    it.run.rollout.filled = 3
    state = interrupted(it)
    for sizes, expected in ((state.sizes, (3, 3)), ([*state.sizes[:-1], 9], (0, 0))):
        other = make()
        other.run.continue_from(interrupted(it, sizes=sizes))
        assert (other.run.rollout.filled, other.run.minibatches) == expected
        assert ("other sizes than before" in capfd.readouterr().out) is (expected == (0, 0))


@pytest.mark.parametrize(
    ("games", "is_interrupted", "expected"), [(ENVS, True, 3), (ENVS - 1, True, 0), (ENVS, False, 0), (None, True, 0)]
)
def test_it_goes_on_within_an_iteration_only_with_all_its_games(
    make, monkeypatch, tmp_path, capfd, games, is_interrupted, expected
):
    """A checkpoint without games (None) is of the first format: all begin anew."""
    it, begun = make(global_step=2 * BATCH, target_frames=4 * BATCH * 8), []
    it.run.rollout.filled = 3
    state = interrupted(it)
    it.run.rollout.filled = 0
    it.run.tally.add_episode(5.0)
    it.envs.restore, it.envs.reset = lambda _: games, lambda: begun.append(1)
    monkeypatch.setattr(snapshot, "unpack", lambda *_: state if is_interrupted else None)
    envs = b"" if games is None else msgspec.msgpack.encode({"games": [], "frames": [], "returns": [], "lengths": []})
    train.resume(it.run, SimpleNamespace(path=tmp_path / "c.pt", envs=envs, payload=b""))
    assert it.run.rollout.filled == expected
    assert begun == ([1] if games is None else [])
    assert capfd.readouterr().out == (
        f"resume: c.pt | step {2 * BATCH} | episode 1 | iteration 2 | learning rate 0.000188 | {games or 0} of {ENVS} "
        "games go on\n"
    )
