"""One checkpoint as a file: a checksum, a header and the games, which need no torch to be read, and torch's bytes.

    rlfleet-checkpoint 2 <sha256 of all that follows this line> <its length in bytes>
    {"game": "pong", "tally": {"global_step": 512, ...}, "envs_bytes": 1387420, ...}
    <games, as MessagePack><payload>

The checksum lies in the same file, so that one rename commits both. Format 1 had no games: a run goes on from it with
new ones. What the payload means is `rltrainer.snapshot`'s business; which checkpoint is used is
`rltrainer.checkpoint_store`'s.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from rltrainer import atomic
from rltrainer.args import FRAMESKIP
from rltrainer.errors import ConfigurationError, DamagedCheckpointError
from rltrainer.tally import Tally

MAGIC: Final = b"rlfleet-checkpoint"
FORMAT: Final = 2
TEMPORARY_SUFFIX: Final = ".tmp"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of a checkpoint without loading it."""

    game: str
    """The ROM's name."""
    written_by: str
    """The version of rltrain."""
    saved_at: float
    """Seconds since the epoch."""
    tally: Tally
    """Counters and scores."""
    metrics_offset: int
    """Length in bytes of metrics.jsonl at this moment."""
    frameskip: int = FRAMESKIP
    """Emulator frames in one step."""
    bf16: bool | None = None
    """Whether the run computes in bfloat16; None: not known."""
    envs_bytes: int = 0
    """Length of the section that holds the games; 0: it has none."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose bytes are those that were written."""

    path: Path
    header: Header
    envs: bytes
    """The games (`rltrainer.envs.EnvsState`)."""
    payload: bytes
    """The learner."""


def write(path: Path, header: Header, envs: bytes, payload: bytes) -> None:
    """Commit a checkpoint: when this returns it survives a power cut.

    Args:
        path: where.
        header: its `envs_bytes` is the length of `envs`.
        envs: the games.
        payload: the learner.

    Raises:
        OSError: nothing has changed.
    """
    head = msgspec.json.encode(header) + b"\n"
    parts = (head, envs, payload)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    first = b"%s %d %s %d\n" % (MAGIC, FORMAT, digest.hexdigest().encode(), sum(map(len, parts)))
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    atomic.replace(path, (first, *parts), temporary=temporary, durable=True)


def read(path: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises:
        DamagedCheckpointError: empty, cut off or altered.
        ConfigurationError: whole, but from another version of rltrain.
        OSError: it can't be read.
    """
    content = path.read_bytes()
    body = _verified_body(path, content)
    head, _, rest = body.partition(b"\n")
    try:
        header = msgspec.json.decode(head, type=Header)
        return Checkpoint(path, header, rest[: header.envs_bytes], rest[header.envs_bytes :])
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{path}: whole, but its header is not this rltrain's ({error})") from error


def _verified_body(path: Path, content: bytes) -> bytes:
    if not content:
        raise DamagedCheckpointError(path, "empty")
    first, newline, body = content.partition(b"\n")
    fields = first.split(b" ")
    if not newline or len(fields) != 4 or fields[0] != MAGIC or not (fields[1].isdigit() and fields[3].isdigit()):
        raise DamagedCheckpointError(path, "does not begin like a checkpoint")
    if len(body) != int(fields[3]):
        raise DamagedCheckpointError(
            path, f"{len(body)} bytes after the first line where {int(fields[3])} were written"
        )
    if hashlib.sha256(body).hexdigest().encode() != fields[2]:
        raise DamagedCheckpointError(path, "checksum differs")
    if int(fields[1]) > FORMAT:
        raise ConfigurationError(
            f"{path}: written by a newer rltrain (format {int(fields[1])}, this one reads {FORMAT}); "
            "install that version, or move the file away to go on from an older one"
        )
    return body
