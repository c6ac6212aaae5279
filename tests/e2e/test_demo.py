"""The demo, as a new user runs it, in a home directory of its own; and taking it down again.

Only its trainers are in less of a hurry: all that they could learn in these minutes is not looked at.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import psutil
import pytest

from faults.target import HOOK

DEMO = Path(__file__).resolve().parents[1] / "demo.py"
SHARE = 0.25
"""Of the time in which the trainers work."""


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_demo_shows_promotion_and_demotion_and_can_be_taken_down(tmp_path):
    python = unhurried_python(tmp_path / "python")
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("RLFLEET_LOCAL_ROOT", None)
    try:
        done = subprocess.run(
            [python, str(DEMO)], env=environment, capture_output=True, text=True, check=False, timeout=1500
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        for part in (
            "promote light -> medium",
            "demote medium -> light: 4 incidents in 10 min (limit 3)",
            "make demo-down",
        ):
            assert part in done.stdout
        rlctl = [str(Path(sys.executable).parent / "rlctl"), "-i", str(DEMO.parent.parent / "inventory" / "local")]
        environment["RLFLEET_LOCAL_ROOT"] = str(tmp_path / ".local/share/rlfleet-demo")
        replayed = subprocess.run(
            [*rlctl, "--timeout", "60", "replay", "local"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr
        assert "lines replayed: the same decisions" in replayed.stdout
    finally:
        down = subprocess.run(
            [python, str(DEMO), "--down"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
    assert down.returncode == 0, down.stdout[-4000:]
    assert not (tmp_path / ".local/share/rlfleet-demo").exists()
    left = [process for process in psutil.process_iter() if str(tmp_path) in " ".join(_command_line(process))]
    _, left = psutil.wait_procs(left, timeout=30)  # one that is ending may do so
    assert [words for process in left if (words := _command_line(process))] == []


def unhurried_python(folder: Path) -> Path:
    """Make an environment that has all that this one has, and in which trainers have the hook that paces them."""
    venv.create(folder, symlinks=True)
    for program in Path(sys.executable).parent.iterdir():
        if not (folder / "bin" / program.name).exists():
            (folder / "bin" / program.name).symlink_to(program)
    (site,) = folder.glob("lib/python*/site-packages")
    shared = [sysconfig.get_path("purelib"), *(str(DEMO.parents[1] / name) for name in ("agent", "ctl"))]
    hook = f"import os, sys; sys.path.insert(0, {str(HOOK)!r}); os.environ.setdefault('TRAINER_PACE', '{SHARE}')"
    (site / "unhurried.pth").write_text("\n".join([*shared, hook]) + "\n")
    return folder / "bin" / "python"


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
