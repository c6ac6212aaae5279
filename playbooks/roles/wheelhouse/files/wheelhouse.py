"""Download the wheels that one kind of host needs into a cache, pack them, and describe the pack as JSON on stdout.

A kind of host is a Python version, a processor and a C library; the controller may be something else altogether. Runs
on the controller and must not touch a host. A pack that is in the cache is used as it is, without any network.
"""  # noqa: INP001  # a script of a role, no package

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

OLDEST_GLIBC_MINOR = 5
"""Of the platform tags manylinux_2_5 and newer: PEP 600."""
PIP_FOR_ANOTHER_PYTHON = """
import sys
from pip._vendor.packaging import markers
# pip takes --python-version for the choice of files, but evaluates requirements' markers for its own Python.
ours, version = markers.default_environment, sys.argv.pop(1)
theirs = {"python_version": version, "python_full_version": version + ".0", "platform_machine": sys.argv.pop(1),
          "platform_system": "Linux", "sys_platform": "linux", "os_name": "posix"}
markers.default_environment = lambda: {**ours(), **theirs}
from pip._internal.cli.main import main
sys.exit(main())
"""


class WheelhouseError(Exception):
    """Wheels that can't be had; its message names the place, the fault and the next step."""


def main() -> int:
    """Print the pack's description, or one error (exit code 2)."""
    arguments = _parser().parse_args()
    try:
        description = ensure(arguments)
    except WheelhouseError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps(description) + "\n")
    return 0


def ensure(wanted: argparse.Namespace) -> dict[str, object]:
    """Return tar, its sha256 and the lock (each wheel with its hash), downloading only once. Raises WheelhouseError."""
    wanted.cache.mkdir(parents=True, exist_ok=True)
    folder = wanted.cache.resolve() / _key(wanted)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # hosts of one kind ask at the same time
        described = folder.with_suffix(".json")
        content = _read(described)
        if content is None:
            with tempfile.TemporaryDirectory(dir=wanted.cache) as temporary:
                _download(wanted, Path(temporary))
                content = _pack(Path(temporary), folder.with_suffix(".tar"))
                whole = Path(temporary) / described.name
                whole.write_text(json.dumps(content))
                whole.replace(described)
        return content


def _read(described: Path) -> dict[str, object] | None:
    """Return a pack's description; None: there is none, or one that a power cut spoiled."""
    try:
        content: dict[str, object] = json.loads(described.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return content


def platforms(machine: str, glibc: str) -> list[str]:
    """Return the platform tags that such a host can use, best first."""
    minor = int(glibc.partition(".")[2] or 17)
    tags = [f"manylinux_2_{number}_{machine}" for number in range(minor, OLDEST_GLIBC_MINOR - 1, -1)]
    return [*tags, f"manylinux2014_{machine}", f"linux_{machine}"]


def _key(wanted: argparse.Namespace) -> str:
    parts = [wanted.python, wanted.machine, wanted.glibc, sorted(wanted.requirement), _constraints_text(wanted)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _constraints_text(wanted: argparse.Namespace) -> str:
    return Path(wanted.constraints).read_text(encoding="utf-8") if wanted.constraints else ""


def _download(wanted: argparse.Namespace, folder: Path) -> None:
    command = [sys.executable, "-c", PIP_FOR_ANOTHER_PYTHON, wanted.python, wanted.machine, "download", "--quiet"]
    command += ["--no-input", "--disable-pip-version-check", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={wanted.python}", f"--dest={folder}"]
    command += [f"--platform={tag}" for tag in platforms(wanted.machine, wanted.glibc)]
    command += ["--constraint", wanted.constraints] if wanted.constraints else []
    done = subprocess.run(
        [*command, *json.loads(os.environ.get("RLFLEET_PIP_ARGS", "[]")), *wanted.requirement],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    if done.returncode:
        said = [line for line in done.stderr.strip().splitlines() if not line.startswith("WARNING")]
        last = os.linesep.join(said[-8:])
        if "No module named 'pip'" in last:
            last = f"{sys.executable} has no pip: {sys.executable} -m ensurepip"
        raise WheelhouseError(
            f"wheels for Python {wanted.python} on {wanted.machine} could not be downloaded:\n{last}\n"
            "Next step: mend that (rlfleet_pip_args, rlfleet_constraints, the network), then deploy again"
        )


def _pack(folder: Path, tar: Path) -> dict[str, object]:
    """Put the wheels into one file; what is written last makes it count."""
    wheels = sorted(folder.iterdir())
    lock = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in wheels]
    with tarfile.open(tar, "w") as archive:
        for path in wheels:
            archive.add(path, arcname=path.name)
    pip = next((path.name for path in wheels if path.name.startswith("pip-")), "")
    return {"tar": str(tar), "lock": lock, "pip": pip}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Pack the wheels that a kind of host needs.")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps the packs")
    parser.add_argument("--python", required=True, help="the hosts' Python, for example 3.10")
    parser.add_argument("--machine", required=True, help="the hosts' processor, for example x86_64")
    parser.add_argument("--glibc", required=True, help="the hosts' C library, for example 2.35")
    parser.add_argument("--constraints", default="", help="file of pip constraints")
    parser.add_argument("requirement", nargs="+", help="a requirement, with its marker")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
