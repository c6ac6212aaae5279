"""The Vagrantfile is one that Vagrant takes, and its VMs are the lab's hosts."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VAGRANTFILE = ROOT / "Vagrantfile"

pytestmark = pytest.mark.skipif(shutil.which("vagrant") is None, reason="no vagrant here: apt-get install vagrant")


@pytest.fixture
def vagrant(tmp_path, monkeypatch):
    """Return a function that runs vagrant, whose own folders are the test's; nothing is booted."""
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VAGRANT_DOTFILE_PATH", str(tmp_path / "dot"))
    monkeypatch.setenv("VAGRANT_CHECKPOINT_DISABLE", "1")

    def run(*words, folder=ROOT):
        return subprocess.run(["vagrant", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=120)

    return run


def test_vagrant_validates_it(vagrant):
    """Without a hypervisor: none is needed to check everything but its own settings."""
    done = vagrant("validate", "--ignore-provider")
    assert (done.returncode, "Vagrantfile validated successfully" in done.stdout) == (0, True), (
        done.stdout + done.stderr
    )


def test_a_mistake_in_it_would_be_found(vagrant, tmp_path):
    (tmp_path / "playbooks").symlink_to(ROOT / "playbooks")
    (tmp_path / "Vagrantfile").write_text(VAGRANTFILE.read_text().replace("ansible.limit", "ansible.limits"))
    done = vagrant("validate", "--ignore-provider", folder=tmp_path)
    assert (done.returncode != 0, "limits" in done.stdout + done.stderr) == (True, True)


def test_its_machines_are_those_of_the_lab(vagrant):
    said = vagrant("validate", "--ignore-provider").stdout
    assert sorted(set(re.findall(r"tnr-\d+", said))) == ["tnr-0", "tnr-1", "tnr-2"]
