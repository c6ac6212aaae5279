"""rlctl and real agents of the version before, the same and the next: each pair works, or says what to upgrade."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ctl_runs import inventory, rlctl

SOURCE = Path(__file__).resolve().parents[2] / "agent" / "rlagent"
CONFIG = '[agent]\nstate_dir = "{root}/var"\n[trainer]\ncommand = ["sleep", "infinity"]\n[[games]]\nname = "Pong"\n'
OLDER, NEWER = "0.0.9", "0.2.0"


def patched(folder, version, *changes):
    """Copy the agent's package with another version, and with texts replaced in all of its files."""
    shutil.copytree(SOURCE, folder / "rlagent", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "rlagent" / "__init__.py").write_text(f'"""Patched."""\n\n__version__ = "{version}"\n')
    for path in (folder / "rlagent").rglob("*.py"):
        text = path.read_text()
        for old, new in changes:
            text = re.sub(old, new, text)
        path.write_text(text)
    return folder


@pytest.fixture
def agent(tmp_path):
    """Return a function that starts a real agent from a folder with its package, and returns an inventory with it."""
    root = tmp_path / "root"
    program = root / "bin" / "rlagent"

    def start(folder):
        program.parent.mkdir(parents=True)
        (root / "config.toml").write_text(CONFIG.format(root=root))
        call = f'{sys.executable} -m rlagent --config {root}/config.toml "$@"'
        program.write_text(f"#!/bin/sh\nexport PYTHONPATH={folder}\nexec {call}\n")
        program.chmod(0o755)
        subprocess.run([program, "run", "--detach"], check=True, capture_output=True, timeout=60)
        return inventory(tmp_path, {"tnr-0": {"ansible_connection": "local", "rlfleet_root": str(root)}})

    yield start
    subprocess.run([program, "shutdown", "--stop-trainers"], check=True, capture_output=True, timeout=90)


def ask(source, verb, *words, **env):
    """Return exit code, error kind, reason and hint of one verb."""
    done = rlctl("-i", source, verb, *words, "-o", "json", **env)
    host = json.loads(done.stdout)["hosts"][0]
    return done.returncode, host["error_kind"], host["error"], host["hint"]


def test_a_newer_agent_answers_in_our_protocol(agent, tmp_path):
    """It speaks one more version, knows one more verb and says more than we know."""
    source = agent(
        patched(
            tmp_path / "next",
            NEWER,
            (r"PROTOCOL_VERSION: Final = 1", "PROTOCOL_VERSION: Final = 2"),
            (r'tag="ping"', 'tag="wave"'),
            (r"    stopped: bool = False\n", "    stopped: bool = False\n    mood: str = 'sunny'\n"),
        )
    )
    assert ask(source, "status")[:2] == (0, None)
    assert ask(source, "hold", "light")[:2] == (0, None)
    assert json.loads(rlctl("-i", source, "status", "-o", "json").stdout)["hosts"][0]["agent"]["version"] == NEWER


def test_a_newer_agent_that_can_no_longer_be_understood_says_that_rlctl_is_to_be_upgraded(agent, tmp_path):
    source = agent(patched(tmp_path / "next", NEWER, (r"\bmode_since\b", "mode_began")))
    code, kind, reason, hint = ask(source, "status")
    assert (code, kind) == (5, "newer-agent")
    assert reason.startswith("its agent is newer: 0.2.0, this rlctl 0.1.0: Object missing required field `mode_since`")
    assert hint == "upgrade rlctl: pip install -U 'rlfleet[ctl]'"


def test_a_newer_agents_error_of_a_new_kind_is_passed_on(agent, tmp_path):
    source = agent(
        patched(
            tmp_path / "next",
            NEWER,
            (r'"internal",  # a bug', '"quarantined",\n    "internal",  # a bug'),
            (r'_failed\("refused"', '_failed("quarantined"'),
        )
    )
    code, kind, reason, _ = ask(source, "rollback", "-y")
    assert (code, kind) == (5, "newer-agent")
    assert reason.startswith("tnr-0's agent is newer, and says: ")


def test_an_older_agent_that_lacks_a_verb_says_that_it_is_to_be_upgraded(agent, tmp_path):
    source = agent(patched(tmp_path / "before", OLDER, (r'tag="explain"', 'tag="why"')))
    assert ask(source, "status")[:2] == (0, None)
    code, kind, reason, hint = ask(source, "explain")
    assert (code, kind, reason) == (6, "older-agent", "its agent is older and does not know explain")
    assert hint.startswith("upgrade it: cd playbooks && ansible-playbook -i ")


def test_an_older_agent_whose_answer_lacks_something_says_so(agent, tmp_path):
    source = agent(patched(tmp_path / "before", OLDER, (r"\bstable_needed_s\b", "needed_s")))
    code, kind, reason, hint = ask(source, "status")
    assert (code, kind) == (5, "older-agent")
    assert reason.startswith("its agent is older: 0.0.9, this rlctl 0.1.0: ")
    assert "deploy.yml" in hint


def test_a_newer_rlctl_speaks_to_this_agent(agent, tmp_path):
    """Its requests carry nothing that has its default, so they are those of before."""
    source = agent(SOURCE.parent)
    ours = patched(tmp_path / "next", NEWER, (r"PROTOCOL_VERSION: Final = 1", "PROTOCOL_VERSION: Final = 2"))
    for verb in (["status"], ["explain"], ["history"], ["hold", "light"]):
        assert ask(source, *verb, PYTHONPATH=str(ours))[:2] == (0, None)


def test_a_newer_rlctl_that_needs_its_own_protocol_is_told_that_this_agent_is_older(agent, tmp_path):
    source = agent(SOURCE.parent)
    changes = ((r"PROTOCOL_VERSION: Final = 1", "PROTOCOL_VERSION: Final = 2"), (r"omit_defaults=True, ", ""))
    ours = patched(
        tmp_path / "next", NEWER, *changes, (r"    v: int = 1\n\n\nclass _Wish", "    v: int = 2\n\n\nclass _Wish")
    )
    code, kind, reason, _ = ask(source, "status", PYTHONPATH=str(ours))
    assert (code, kind) == (5, "older-agent")
    assert reason == "its agent is older: the caller speaks protocol 2, this agent (0.1.0) up to 1"


def test_the_patches_take_hold():
    """A text that is no longer in the sources would make these tests say nothing."""
    sources = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    for text in ("PROTOCOL_VERSION: Final = 1", 'tag="ping"', 'tag="explain"', "    stopped: bool = False\n",
                 "mode_since", "stable_needed_s", '"internal",  # a bug', '_failed("refused"', "omit_defaults=True, ",
                 "    v: int = 1\n\n\nclass _Wish"):  # fmt: skip
        assert text in sources, text
