"""What can go wrong, as a tree; every error says place, fault and next step in one line.

    RlctlError                     exit 1
    |-- UsageError                 exit 2: the caller's mistake
    |   |-- DurationError          a duration that can't be read
    |   |-- InventoryError         no inventory, or one that can't be read
    |   `-- UnknownHostError       no such host, pattern or group in the inventory
    |-- NotConfirmedError          exit 1: asked, and the answer was no
    `-- HostError                  exit 5: one host's fault; a fan-out returns it as data
        |-- ConnectError           the way to the host: name, network, SSH, keys
        |-- AgentError             the host is there, its agent does not answer as it should
        `-- RefusedError           exit 6: the agent understood and said no
            `-- ChangedHostError   another machine answers to its name: nothing was sent

Exit codes live in `rlctl.exits`; nothing here prints or exits.
"""

from __future__ import annotations

from typing import ClassVar


class RlctlError(Exception):
    """Any error that a person is told about without a traceback."""

    exit_code: ClassVar[int] = 1

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason, hint)
        self.reason = reason
        """Place and fault."""
        self.hint = hint
        """The next step."""

    def __str__(self) -> str:
        return self.reason if self.hint is None else f"{self.reason}; {self.hint}"


class UsageError(RlctlError):
    """The command line asks for something that can't be."""

    exit_code = 2


class DurationError(UsageError):
    """A text that is no duration."""

    def __init__(self, text: str) -> None:
        super().__init__(f"'{text}' is no duration", "write for example 90s, 45m, 2h, 1d or 2h30m")
        self.text = text


class InventoryError(UsageError):
    """An inventory that is missing, broken or lacks what is needed."""

    def __init__(self, place: str, fault: str, hint: str | None = None) -> None:
        super().__init__(f"inventory {place}: {fault}", hint)
        self.place = place


class UnknownHostError(UsageError):
    """A name or pattern that matches no host."""

    def __init__(self, pattern: str, place: str, near: list[str], known: list[str]) -> None:
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {_some(known)}"
        super().__init__(f"no host or group matches '{pattern}' in inventory {place}", hint)
        self.pattern = pattern
        self.near = near


class NotConfirmedError(RlctlError):
    """The question was answered with no."""

    def __init__(self) -> None:
        super().__init__("nothing was changed")


class HostError(RlctlError):
    """One host's fault; `kind` is one word for tables and JSON."""

    exit_code = 5

    def __init__(self, kind: str, reason: str, hint: str | None = None) -> None:
        super().__init__(reason, hint)
        self.kind = kind


class ConnectError(HostError):
    """No way to the host."""


class AgentError(HostError):
    """The host was reached, but not its agent."""


class RefusedError(HostError):
    """The agent said no; its reason is the message."""

    exit_code = 6


class ChangedHostError(RefusedError):
    """Another machine answers to a host's name than the one that was pinned."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__("host-changed", reason, hint)


def _some(names: list[str], limit: int = 8) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} ... ({len(names)} in all)"
