"""The playbooks are clean: syntax, ansible-lint's profile 'production', yamllint."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from playbook_runs import CHECKOUT, PLAYBOOKS

BIN = Path(sys.executable).parent
ENV = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1"}


def run(*command, cwd=CHECKOUT):
    return subprocess.run(list(map(str, command)), cwd=cwd, env=ENV, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("playbook", ["deploy.yml", "rollback.yml", "uninstall.yml"])
def test_syntax_is_right(playbook):
    result = run(BIN / "ansible-playbook", "-i", "../inventory/example", "--syntax-check", playbook, cwd=PLAYBOOKS)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow
def test_ansible_lint_finds_nothing_in_its_profile_production():
    result = run(BIN / "ansible-lint", "playbooks", "inventory/example", "inventory/local")
    assert result.returncode == 0, result.stdout + result.stderr


def test_yamllint_finds_nothing():
    result = run(BIN / "yamllint", "--strict", "playbooks", "inventory/example", "inventory/local", ".ansible-lint")
    assert (result.returncode, result.stdout) == (0, "")


def test_every_role_declares_its_arguments():
    roles = sorted((PLAYBOOKS / "roles").iterdir())
    assert [role for role in roles if not (role / "meta" / "argument_specs.yml").is_file()] == []
