"""Deterministic simulation: the production agent on random hosts that crash, hang, reboot, fill up and kill it.

    PYTHONPATH=tests python -m sim --seed 17           one host again, with its story
    PYTHONPATH=tests python -m sim --seeds 0:1000      many hosts
    PYTHONPATH=tests python -m sim --years 0:10        host-years of the policy alone

`host` is the simulated machine, `model` draws what happens to it, `agents` runs the real daemon on it, `checkers` say
what must hold, `years` skips idle time, `mutants` breaks each invariant on purpose.
"""
