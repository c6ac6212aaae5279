"""Stand-ins: environments and an actor that follow a rule which tests know, and real games without processes."""

from __future__ import annotations

import os

import numpy as np

from rltrainer.atari import memory, pool
from rltrainer.atari.game import quiet_emulator
from rltrainer.atari.messages import Reset, Restore, Save, Setup
from rltrainer.atari.rules import OBS_SHAPE
from rltrainer.atari.worker import Worker
from rltrainer.envs import Episode, Step

ENVS, STEPS, ACTIONS = 6, 4, 3


class NumberedEnvs:
    """Environments whose frames say which one it is and how many steps it has played; an episode ends every third."""

    def __init__(self, num_groups):
        bounds = [ENVS * part // num_groups for part in range(num_groups + 1)]
        self.groups = [slice(*bounds[part : part + 2]) for part in range(num_groups)]
        self.obs = np.zeros((ENVS, *OBS_SHAPE), np.uint8)
        self.played = np.zeros(ENVS, int)
        self.actions = [[] for _ in range(ENVS)]
        self.under_way = set()
        self.is_closed = False
        self._show(slice(None))

    def _show(self, part):
        numbers = np.arange(ENVS)[part] * 20 + self.played[part]
        self.obs[part] = numbers[:, None, None, None]

    def send(self, group, actions):
        assert group not in self.under_way
        self.under_way.add(group)
        for env, action in zip(range(ENVS)[self.groups[group]], actions, strict=True):
            self.actions[env].append(int(action))

    def receive(self, group):
        self.under_way.remove(group)
        part = self.groups[group]
        self.played[part] += 1
        self._show(part)
        envs, played = np.arange(ENVS)[part], self.played[part]
        return Step(
            rewards=(envs * 100 + played).astype(np.float32),
            dones=played % 3 == envs % 3,
            episodes=[Episode(float(env), int(steps)) for env, steps in zip(envs, played, strict=True)],
        )

    @property
    def num_actions(self):
        return ACTIONS

    def save(self):
        return {"played": self.played.tolist()}

    def close(self):
        self.is_closed = True


def act(obs, noise):
    """The action by the noise alone; log-probability and value by the frame, each in its own way."""
    number = obs[:, 3, 4, 1].float()
    return noise.argmax(-1), -number, number * 3


class LocalPool:
    """Stands in for a pool: the same games with the same seeds, played in this process when they are sent."""

    pids = ()

    def __init__(self, rules, *, seed, num_envs, num_workers, num_groups=1):
        self.groups = pool._split(range(num_envs), num_groups)
        descriptor = memory.create(num_envs)
        self.arrays = memory.attach(descriptor, num_envs)
        os.close(descriptor)
        quiet_emulator()
        shares = [list(group) for group in self.groups]
        self._worker = Worker(Setup(rules=rules, seed=seed, num_envs=num_envs, groups=shares), self.arrays)

    @property
    def num_actions(self):
        return self._worker.num_actions

    def send(self, group):
        self._worker.step(group)

    def receive(self, group):
        """Nothing is left to wait for."""

    def reset(self, envs):
        self._worker.answer(Reset(envs=list(envs)))

    def save(self):
        states = self._worker.answer(Save()).states
        return [states[env] for env in sorted(states)]

    def restore(self, states):
        self._worker.answer(Restore(states=dict(states)))

    def close(self):
        """Nothing is left to end."""
