"""Fixtures of the tests on real hosts. Where no lab can run, these tests are skipped, and the summary says why."""

from __future__ import annotations

import pytest

from lab import borrow, needs
from lab.lab import Lab


@pytest.fixture(scope="session")
def lab_needs():
    """Skip where no lab can run."""
    reason = needs.missing()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def make_lab(lab_needs):
    """Boot labs from hosts' specs; what is left of them is removed after the module's last test."""
    labs = []

    def make(*specs, **options) -> Lab:
        labs.append(Lab(specs, **options))
        labs[-1].start()
        return labs[-1]

    yield make
    for lab in labs:
        lab.stop()


@pytest.fixture(scope="session")
def controller_python(lab_needs):
    """Return the controller's Python environment for hosts to use; skip where they can't."""
    borrowed = borrow.controller_python()
    if isinstance(borrowed, str):
        pytest.skip(borrowed)
    return borrowed
