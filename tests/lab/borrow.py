"""Lends the controller's Python environment to hosts, read-only: torch runs there without being installed.

What it needs from a host besides the folders (C library, libssl ...) is the image's; `Borrowed.fault` tries it out.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from lab import image
from lab.host import Host


@dataclass(frozen=True)
class Borrowed:
    """An interpreter that hosts may use, and the folders that they need for it, at the places they have here."""

    python: Path
    folders: tuple[Path, ...]

    @property
    def binds(self) -> dict[Path, str]:
        """What a host must be given: `Spec(binds=...)`."""
        return {folder: str(folder) for folder in self.folders}

    def fault(self, host: Host, module: str = "torch") -> str | None:
        """Return why a running host's user can't import a module with it, or None if it can."""
        done = host.ssh(f"{self.python} -c 'import {module}'", check=False, timeout=240)
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return f"{host.name} can't use {self.python}: {last}" if done.returncode else None


def controller_python() -> Borrowed | str:
    """Return this interpreter's environment for hosts, or why they can't have it."""
    environment, base = Path(os.path.normpath(sys.prefix)), Path(sys.base_prefix).resolve()
    python = Path(os.path.normpath(sys.executable))  # not resolved: the link in the environment is what matters
    if base == Path("/usr"):
        if sys.version_info[:2] != image.PYTHON:
            ours, theirs = (".".join(map(str, version)) for version in (sys.version_info[:2], image.PYTHON))
            return f"the lab's hosts have Python {theirs} in /usr, and this environment needs {ours} there"
        return Borrowed(python, (environment,))
    return Borrowed(python, tuple(dict.fromkeys((base, environment))))
