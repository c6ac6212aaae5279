"""Fixtures of the tests on real hosts. Where no lab can run, these tests are skipped, and the summary says why."""

from __future__ import annotations

import pytest

from lab import borrow, needs
from lab.lab import Lab
from playbook_runs import build_wheel, copy_of_checkout


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


@pytest.fixture(scope="session")
def releases(tmp_path_factory, lab_needs):
    """Build two releases of the checkout as it is now, and one whose agent can't start."""
    project = copy_of_checkout(tmp_path_factory.mktemp("snapshot"))
    wheels = tmp_path_factory.mktemp("wheels")
    old = build_wheel(project, wheels)
    (project / "agent/rlagent/__init__.py").open("a").write("\n# another release\n")
    new = build_wheel(project, wheels)
    (project / "agent/rlagent/daemon.py").write_text('raise RuntimeError("this release is broken")\n')
    return {"old": old, "new": new, "broken": build_wheel(project, wheels)}
