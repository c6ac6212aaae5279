"""Decides on the key that a host shows: known, or an error; an unknown one as OpenSSH's configuration says."""

from __future__ import annotations

import paramiko

from rlctl import knownhosts
from rlctl.errors import ConnectError
from rlctl.hosts import Host
from rlctl.sshconfig import SshSettings
from rlctl.sshfaults import changed_host_key, revoked_host_key, unknown_host_key


class KnownHostsOnly(paramiko.MissingHostKeyPolicy):
    """Judges every key of a host: paramiko itself is told of none."""

    def __init__(self, host: Host, settings: SshSettings, known: knownhosts.KnownKeys) -> None:
        self._host = host
        self._settings = settings
        self._known = known

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Return if the key may be trusted; raises `ConnectError`."""
        del client, hostname  # the configuration's alias counts, not what the connection is made to
        match self._known.judge(key.get_name(), key.asbytes()):
            case "known":
                return
            case "changed":
                raise changed_host_key(self._host, self._settings, key)
            case "revoked":
                raise revoked_host_key(self._host, key)
            case "unknown":
                self._meet(key)

    def _meet(self, key: paramiko.PKey) -> None:
        """Do with an unknown key as the user's configuration says."""
        settings = self._settings
        if settings.unknown_host_key == "refuse":
            raise unknown_host_key(self._host, key)
        if settings.unknown_host_key == "add" and settings.new_known_hosts is not None:
            name = settings.host_key_alias or settings.hostname
            port = None if settings.host_key_alias is not None else settings.port
            try:
                knownhosts.add(settings.new_known_hosts, name, port, key.get_name(), key.asbytes())
            except OSError as error:
                place = f"{settings.new_known_hosts}: {error.strerror}"
                raise ConnectError("host-key-unknown", f"its new host key can't be noted in {place}") from error
