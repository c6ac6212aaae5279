"""Remembers what `ssh -G` said of hosts: it is a program to start for each of them, and says the same each time.

Its answers depend on the configuration files with all they include, on the user, and on nothing else, unless they match
by a command's exit code, the network or the canonical name: then nothing is remembered and OpenSSH is asked anew.
"""

from __future__ import annotations

import functools
import glob
import os
import re
import shlex
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlctl import remembered

_NAME = "ssh"
_SYSTEM = Path("/etc/ssh")
_FLAGS = re.IGNORECASE | re.MULTILINE
_CHANGEABLE = re.compile(
    r"^\s*(match\b.*\b(exec|localnetwork|canonical|tagged|command)\b|canonicalizehostname\b)", _FLAGS
)
_INCLUDE = re.compile(r"^\s*include\b[\s=]*(.*?)\s*$", _FLAGS)
_DEPTH_MAX = 16

_new: dict[str, str] = {}
_lock = threading.Lock()


def get(command: Sequence[str]) -> str | None:
    """Return what a command said before, if it would say it again."""
    current = _stamp(_configuration(command))
    return None if current is None else _known(current).get(_key(command))


def put(command: Sequence[str], output: str) -> None:
    """Note what a command says, to be written by `keep`."""
    with _lock:
        _new[_key(command)] = output


def keep() -> None:
    """Write down what is new, for the next run; once for all hosts."""
    with _lock:
        noted = dict(_new)
        _new.clear()
    by_stamp: dict[str, dict[str, str]] = {}
    for key, output in noted.items():
        current = _stamp(_configuration(key.split("\0")))
        if current is not None:
            by_stamp.setdefault(current, {})[key] = output
    for current, answers in by_stamp.items():
        remembered.save(f"{_NAME}-{current[:12]}", current, answers)


def _key(command: Sequence[str]) -> str:
    return "\0".join(command)


@functools.cache
def _known(current: str) -> dict[str, str]:
    return remembered.load(f"{_NAME}-{current[:12]}", current)


def _configuration(command: Sequence[str]) -> Path | None:
    """Return the file that a command names with -F; None: the usual ones. The host's name is the last word."""
    for index, word in enumerate(command):
        if word == "-F":
            return Path(command[index + 1])
        if word.startswith("-F"):
            return Path(word[2:])
        if word == "--":
            break
    return None


@functools.cache
def _stamp(named: Path | None) -> str | None:
    """Return what stands for all that answers depend on; None: they may differ from one time to the next."""
    user = Path.home() / ".ssh"
    tops = [(user / "config", user), (_SYSTEM / "ssh_config", _SYSTEM)] if named is None else [(named, user)]
    parts: list[remembered.Part] = [(name, os.environ.get(name, "").encode()) for name in ("HOME", "USER", "LOGNAME")]
    parts.append(("uid", str(os.getuid()).encode()))
    parts.append(remembered.installed(shutil.which("ssh") or "ssh"))
    for path, base in tops:
        for name, content in _with_includes(path, base):
            text = (content or b"").decode("utf-8", "replace")
            if _CHANGEABLE.search(text) or "${" in text:
                return None
            parts.append((name, content))
    return remembered.stamp(parts)


def _with_includes(path: Path, base: Path, depth: int = 0) -> Iterator[remembered.Part]:
    """Yield a configuration file and those it includes; relative ones lie in the base folder."""
    name, content = remembered.file(path)
    yield name, content
    if content is None or depth >= _DEPTH_MAX:
        return
    for found in _INCLUDE.finditer(content.decode("utf-8", "replace")):
        for pattern in shlex.split(found.group(1)):
            place = os.path.expanduser(pattern)  # noqa: PTH111  # it is a pattern, no path
            for included in sorted(glob.glob(place if place.startswith("/") else str(base / place))):  # noqa: PTH207
                yield from _with_includes(Path(included), base, depth + 1)
