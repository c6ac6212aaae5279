"""Simulated hosts for the policy: what a configuration would do, offline.

Pure: time is counted, chance comes from a seed that is passed in. The decisions are those of the production
`policy.step`; only the host is a model. For the daemon around it see `tests/sim`.
"""
