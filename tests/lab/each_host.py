"""Runs a test on all hosts of its lab at once: on real hosts most of the time is waiting."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lab.lab import Lab


def on_each_host(test: Callable[..., None]) -> Callable[..., None]:
    """Decorate a test that takes a `host`: it takes the `lab` instead, and runs once for each of its hosts, in threads.

    The first failure is raised, with a note of each.
    """
    parameters = inspect.signature(test).parameters

    @functools.wraps(test)
    def run(lab: Lab, **fixtures: object) -> None:
        with ThreadPoolExecutor(len(lab.hosts)) as pool:
            jobs = {name: pool.submit(test, host=host, **fixtures) for name, host in lab.hosts.items()}
        errors = [(lab.hosts[name], error) for name, job in jobs.items() if (error := job.exception())]
        for host, error in errors:
            errors[0][1].add_note(f"on {host.name}, a {host.kind}: {error!r}")
        if errors:
            raise errors[0][1]

    named = [inspect.Parameter("lab", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    named += [parameter for name, parameter in parameters.items() if name != "host"]
    run.__signature__ = inspect.Signature(named)
    return run
