"""Build the rlfleet wheel from a checkout into a cache and describe it as one JSON object on stdout.

Owns the name of a release (version and content of the wheel) and what it requires; runs on the controller
and must not touch a host. Builds are reproducible: the same sources give the same wheel, so the same release.
"""  # noqa: INP001  # a script of a role, no package

from __future__ import annotations

import argparse
import email
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path


class WheelError(Exception):
    """A wheel that can't be built or used; its message names the place, the fault and the next step."""


def main() -> int:
    """Print the wheel's description, or one error (exit code 2)."""
    arguments = _parser().parse_args()
    try:
        description = describe(_wheel(arguments))
    except WheelError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps(description) + "\n")
    return 0


def describe(wheel: Path) -> dict[str, object]:
    """Return path, version, sha256, release name and the requirements of a wheel; raises WheelError."""
    try:
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        with zipfile.ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if re.fullmatch(r"rlfleet-[^/]+\.dist-info/METADATA", n))
            metadata = email.message_from_bytes(archive.read(name))
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise WheelError(f"{wheel}: no wheel of rlfleet ({error!r}); leave rlfleet_wheel out to build one") from None
    requires = metadata.get_all("Requires-Dist", [])
    return {
        "path": str(wheel),
        "version": metadata["Version"],
        "sha256": sha256,
        "release": f"{metadata['Version']}-{sha256[:8]}",
        "agent_requirements": requirements(requires, "agent"),
        "trainer_requirements": requirements(requires, "trainer"),
    }


def requirements(requires_dist: list[str], extra: str) -> list[str]:
    """Return the requirements without an extra and those of one, as lines for pip, sorted."""
    chosen = []
    for line in requires_dist:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        match = re.fullmatch(r"(?:(?P<other>.*) and )?extra == ['\"](?P<extra>[\w-]+)['\"]", marker)
        if match is None:
            chosen.append(line.strip())
        elif match["extra"] == extra:
            chosen.append(f"{requirement}; {match['other']}" if match["other"] else requirement)
    return sorted(chosen)


def _wheel(arguments: argparse.Namespace) -> Path:
    """Return the wheel to install: the given one, or a fresh one that the cache keeps by its content."""
    if arguments.wheel:
        return Path(arguments.wheel).expanduser().resolve()
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        fresh = _build(arguments.project.resolve(), Path(folder))
        kept = cache / hashlib.sha256(fresh.read_bytes()).hexdigest()[:8] / fresh.name
        kept.parent.mkdir(exist_ok=True)
        fresh.replace(kept)
    return kept


def _build(project: Path, folder: Path) -> Path:
    """Build a wheel with hatchling where this Python has it (no network needed), else with pip."""
    if importlib.util.find_spec("hatchling"):
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    else:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(project)]
    # Without a fixed umask two controllers could pack the same sources with different modes.
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, umask=0o022)
    wheels = list(folder.glob("rlfleet-*.whl"))
    if result.returncode or len(wheels) != 1:
        raise WheelError(
            f"{project}: building the wheel failed: {' '.join(command)}{os.linesep}{result.stderr.strip()}{os.linesep}"
            f"Next step: {sys.executable} -m pip install hatchling, then deploy again"
        )
    return wheels[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Build the rlfleet wheel, or describe a given one.")
    parser.add_argument("--project", type=Path, required=True, help="the checkout")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps the wheels by their content")
    parser.add_argument("--wheel", default="", help="use this wheel instead of building one")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
