"""The playbooks are clean: syntax and roles here; ansible-lint and yamllint run in `make lint`, before any test."""

import os
import subprocess
import sys
from pathlib import Path

from playbook_runs import CHECKOUT, PLAYBOOKS

BIN = Path(sys.executable).parent
PLAYS = ("deploy.yml", "rollback.yml", "uninstall.yml")


def test_syntax_is_right():
    done = subprocess.run(
        [BIN / "ansible-playbook", "-i", "../inventory/example", "--syntax-check", *PLAYS],
        cwd=PLAYBOOKS,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if line] == [f"playbook: {play}" for play in PLAYS]


def test_make_lint_looks_at_the_playbooks_and_at_each_inventory_that_is_ours():
    (ansible_lint,) = (line for line in (CHECKOUT / "Makefile").read_text().splitlines() if " ansible-lint " in line)
    assert ansible_lint.split()[-3:] == ["playbooks", "inventory/example", "inventory/local"]


def test_every_role_declares_its_arguments():
    roles = sorted((PLAYBOOKS / "roles").iterdir())
    assert [role for role in roles if not (role / "meta" / "argument_specs.yml").is_file()] == []
