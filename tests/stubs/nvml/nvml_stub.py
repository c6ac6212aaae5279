"""Builds the NVML stub, writes its script, and runs programs against it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml_stub.c")
LIBRARY = "libnvidia-ml.so.1"
GPU_IS_LOST, DRIVER_NOT_LOADED, UNKNOWN = 15, 9, 999


def build(folder: Path) -> Path:
    """Compile the stub into a folder; returns the library."""
    library = folder / LIBRARY
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler is needed for the NVML stub: apt-get install gcc libc6-dev"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, SOURCE], check=True)
    return library


class NvmlStub:
    """One scripted driver: `environment` makes a program load it, `say` changes what it answers from now on."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._built, self.folder, self.script = library, folder / "lib", folder / "nvml.txt"
        self.folder.mkdir()
        self.values: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "LD_LIBRARY_PATH": str(self.folder), "NVML_STUB_SCRIPT": str(self.script)}

    def install(self) -> None:
        """Put the library where the program looks for it."""
        shutil.copy(self._built, self.folder / "new.so")
        (self.folder / "new.so").rename(self.folder / LIBRARY)

    def say(self, **values: object) -> None:
        """Set values (`utilization_0=57`, `count="hang"`); None takes one away."""
        for name, value in values.items():
            stem, _, index = name.rpartition("_")
            key = f"{stem}.{index}" if index.isdigit() else name
            self.values.pop(key, None)
            if value is not None:
                self.values[key] = str(value)
        temporary = self.script.with_suffix(".new")
        temporary.write_text("".join(f"{key} {value}\n" for key, value in self.values.items()))
        temporary.rename(self.script)
