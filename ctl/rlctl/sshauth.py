"""Which keys a host is offered: those of its identity files, from the file or the SSH agent, then the agent's others.

Files are loaded once in a run, not once a host.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import paramiko
from paramiko.auth_strategy import AuthSource, AuthStrategy, InMemoryPrivateKey, SourceResult

from rlctl.sshconfig import SshSettings


class KeyAuth(AuthStrategy):
    """Offers keys one after the other; when none is accepted, raises what a person can mend."""

    def __init__(self, settings: SshSettings) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._settings = settings
        self._locked = False

    def get_sources(self) -> Iterator[AuthSource]:
        """Yield the keys in the order to try."""
        user, locked = self._settings.user, []
        for name in self._settings.identity_files:
            key = _loaded(name)
            if key is None:
                locked.append(name)
            else:
                yield InMemoryPrivateKey(user, key)
        for agent_key in self._agent_keys(locked):
            yield InMemoryPrivateKey(user, agent_key)
        self._locked = bool(locked)

    def authenticate(self, transport: paramiko.Transport) -> list[SourceResult]:
        """Try each key; raises `paramiko.AuthenticationException`, or that a passphrase is needed."""
        try:
            return super().authenticate(transport)
        except paramiko.AuthenticationException as error:
            if self._locked:
                raise paramiko.PasswordRequiredException("a key is locked") from error
            raise

    def _agent_keys(self, locked: Sequence[str]) -> list[paramiko.PKey]:
        """Return the SSH agent's keys: those of locked files, and unless the configuration forbids it all others."""
        if not self._settings.ask_agent:
            return []
        keys = paramiko.Agent().get_keys()
        named = {_public(name) for name in locked}
        mine = [key for key in keys if key.asbytes() in named]
        return [*mine, *(() if self._settings.identities_only else (key for key in keys if key not in mine))]


@functools.cache
def _loaded(name: str) -> paramiko.PKey | None:
    """Return a key file's key with its certificate; None: it needs a passphrase, or can't be read."""
    try:
        return paramiko.PKey.from_path(name)
    except (OSError, ValueError, TypeError, paramiko.SSHException):
        return None


@functools.cache
def _public(name: str) -> bytes | None:
    """Return the public key beside a key file."""
    try:
        return base64.b64decode(Path(f"{name}.pub").read_text(encoding="utf-8").split()[1])
    except (OSError, ValueError, IndexError, binascii.Error):
        return None
