"""Packages that only benchmarks need, in a folder of their own: the project's environment stays as it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "bench-packages"

SB3 = {"stable_baselines3": ("stable-baselines3==2.9.2", "cloudpickle", "opencv-python-headless<5")}
# Without its dependencies: they are asset packages of hundreds of megabytes for other environments, and the games'
# ROMs are those of ale_py.
ENVPOOL = {"envpool": ("envpool==1.2.5", "dm-env", "dm-tree", "optree")}
PLOTS = {
    "matplotlib": (
        "matplotlib>=3.9", "contourpy", "cycler", "fonttools", "kiwisolver", "pyparsing", "python-dateutil", "six",
    ),
    "plotext": ("plotext>=5.3,<6",),
}  # fmt: skip


def provide(wanted: dict[str, tuple[str, ...]]) -> str | None:
    """Install what is missing and make it importable; returns why it can't be, None when it is there."""
    for module, requirements in wanted.items():
        if not (FOLDER / module).exists():
            print(f"installing {requirements[0]} for this benchmark into {FOLDER}", file=sys.stderr)
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            done = subprocess.run(
                [*command, "--target", FOLDER, *requirements], check=False, capture_output=True, text=True
            )
            if done.returncode != 0:
                faults = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
                return f"{requirements[0]} can't be installed here: {faults[-1]}"
        if module == "envpool":
            _give_roms(FOLDER / "envpool" / "atari" / "roms")
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))  # last: what the project brings itself wins
    return None


def _give_roms(folder: Path) -> None:
    if folder.exists():
        return
    import ale_py.roms  # noqa: PLC0415  # a quarter of a second

    unfinished = folder.with_name("roms.new")
    unfinished.mkdir(exist_ok=True)
    for rom in Path(ale_py.roms.__file__).parent.glob("*.bin"):
        shutil.copy(rom, unfinished)
    unfinished.rename(folder)
