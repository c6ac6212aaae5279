"""The agent on every Python that servers have: installed from this checkout, with real trainers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def find_python(version: str) -> str | None:
    """Return an interpreter of this version: from PATH, or one of pyenv's."""
    candidates = [shutil.which(f"python{version}")]
    candidates += sorted(str(p) for p in Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    for candidate in candidates:
        answer = candidate and subprocess.run(
            [candidate, "-c", "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer and answer.stdout.strip() == version:
            return candidate
    return None


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13"])
def test_the_agent_runs_adopts_and_restarts(version, make_host, tmp_path):
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} with venv on this machine")
    environment = tmp_path / "venv"
    subprocess.run([python, "-m", "venv", environment], check=True)
    install = [environment / "bin" / "pip", "install", "-q", "--disable-pip-version-check", f"{ROOT}[agent]"]
    subprocess.run(install, check=True)
    for program, extra in (("rlctl", "ctl"), ("rltrain", "trainer")):
        missing = subprocess.run([environment / "bin" / program, "status"], capture_output=True, text=True, check=False)
        assert missing.returncode == 2
        assert f"Install it with: pip install 'rlfleet[{extra}]'" in missing.stderr
    host = make_host(python=environment / "bin" / "python").start()
    pids = host.wait_running(2)
    host.kill_agent()
    host.start()
    assert host.wait_running(2) == pids
    os.kill(pids["Pong"], signal.SIGKILL)
    host.wait_for(lambda: host.status()["incidents_last_hour"] == 1, "the incident")
    host.wait_running(2)
    assert host.status()["mode"] == "light"
