"""Pins each host's UUID at first contact, in a file of the user's, and tells when another machine answers to its name.

The agent makes the UUID at install and keeps it; rented servers come and go behind the same alias. A pin belongs to a
name in an inventory, so that `tnr-0` of one inventory is not that of another.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from rlctl.errors import ChangedHostError, RlctlError
from rlctl.hosts import Host

SCHEMA_VERSION = 1


class Pin(msgspec.Struct, frozen=True):
    """The machine that a name stands for."""

    uuid: str
    since: str
    """When it was pinned: ISO 8601, UTC."""


class _File(msgspec.Struct):
    schema_version: int = SCHEMA_VERSION
    inventories: dict[str, dict[str, Pin]] = {}  # msgspec copies it
    """Pins by inventory, then by the host's name."""


class IdentityFileError(RlctlError):
    """The file of pins can't be used."""


@dataclasses.dataclass(frozen=True)
class Change:
    """Another machine answers to a host's name."""

    host: str
    old: Pin
    uuid: str
    also_known_as: str | None
    """The other name under which this machine is pinned."""

    def __str__(self) -> str:
        known = f", which is known as {self.also_known_as}" if self.also_known_as else ""
        return (
            f"ANOTHER MACHINE answers as {self.host}: host UUID {self.uuid}{known}; "
            f"it was {self.old.uuid} since {self.old.since}"
        )

    def refusal(self) -> ChangedHostError:
        """Return the error of a command that would change something there."""
        return ChangedHostError(str(self), f"nothing was sent; if that is right: {accept_command(self.host)}")


def accept_command(name: str) -> str:
    """Return what a person types when the new machine is the right one."""
    return f"rlctl accept {name}"


def default_path(environment: Mapping[str, str], home: Path) -> Path:
    """Return the file: in the user's state folder, as the XDG specification says."""
    base = environment.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else home / ".local" / "state") / "rlfleet" / "hosts.json"


class Identities:
    """The pins; read once, and written under a lock so that runs beside this one lose nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._read()

    def change(self, host: Host, uuid: str) -> Change | None:
        """Return how a host differs from what its name stood for, if it does."""
        pins = self._file.inventories.get(_inventory(host), {})
        old = pins.get(host.name)
        if old is None or old.uuid == uuid:
            return None
        twin = next((name for name, pin in pins.items() if pin.uuid == uuid and name != host.name), None)
        return Change(host.name, old, uuid, twin)

    def pinned(self, host: Host) -> Pin | None:
        """Return the pin of a host."""
        return self._file.inventories.get(_inventory(host), {}).get(host.name)

    def remember(self, met: Mapping[Host, str]) -> None:
        """Pin hosts that are met for the first time; those that are pinned stay. Raises `IdentityFileError`."""
        new = {host: uuid for host, uuid in met.items() if self.pinned(host) is None}
        if new:
            self._write(new, lambda pins, name: name not in pins)

    def accept(self, met: Mapping[Host, str]) -> None:
        """Pin hosts to the machines that answer now, whatever was pinned. Raises `IdentityFileError`."""
        self._write(met, lambda _pins, _name: True)

    def _write(self, met: Mapping[Host, str], wanted: Callable[[Mapping[str, Pin], str], bool]) -> None:
        now = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            with _locked(self._path):
                self._file = self._read()  # another run may have written meanwhile
                for host, uuid in met.items():
                    pins = self._file.inventories.setdefault(_inventory(host), {})
                    if wanted(pins, host.name):
                        pins[host.name] = Pin(uuid, now)
                _replace(self._path, msgspec.json.format(msgspec.json.encode(self._file)) + b"\n")
        except OSError as error:
            fault = f"{self._path}: {error.strerror}: hosts can't be pinned"
            raise IdentityFileError(fault, "make it writable") from error

    def _read(self) -> _File:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return _File()
        except OSError as error:
            raise IdentityFileError(f"{self._path}: {error.strerror}", "make it readable") from error
        try:
            file = msgspec.json.decode(content, type=_File)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            hint = "mend it, or move it away: hosts are then pinned anew"
            raise IdentityFileError(f"{self._path}: not a list of pinned hosts: {error}", hint) from error
        if file.schema_version > SCHEMA_VERSION:
            raise IdentityFileError(f"{self._path}: written by a newer rlctl", "upgrade: pip install -U 'rlfleet[ctl]'")
        return file


def _inventory(host: Host) -> str:
    return host.inventory or ""


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that at any instant it is the old or the new one, whole."""
    handle, written = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as new:
            new.write(content)
            new.flush()
            os.fsync(new.fileno())
        Path(written).replace(path)
    except BaseException:
        Path(written).unlink(missing_ok=True)
        raise
