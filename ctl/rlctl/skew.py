"""An agent older than this `rlctl`: its complaint about what it does not know becomes one clear sentence. Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from rlagent.protocol.messages import Request
from rlctl.errors import HostError, RefusedError
from rlctl.hosts import Host

_VERB: Final = re.compile(r"at `\$\.verb`")
_FIELD: Final = re.compile(r"unknown field `(\w+)`")
OLDER: Final = "older-agent"


def explain(host: Host, request: Request, error: HostError) -> HostError:
    """Return a host's error, or what it means: the agent knows the verb, or one of its arguments, not yet."""
    if error.kind not in {"bad-request", OLDER}:
        return error
    verb = request.__struct_config__.tag
    upgrade = f"upgrade it: {host.deploy_command}"
    if _VERB.search(error.reason):
        return RefusedError(OLDER, f"its agent is older and does not know {verb}", upgrade)
    field = unknown_field(error)
    if field is not None:
        return RefusedError(OLDER, f"its agent is older and does not know {verb} with {field}", upgrade)
    return error


def unknown_field(error: HostError) -> str | None:
    """Return the argument that an agent does not know, if that is its complaint."""
    found = _FIELD.search(error.reason) if error.kind in {"bad-request", OLDER} else None
    return None if found is None else found.group(1)


def unnamed(request: Request) -> Request:
    """Return the wish as agents understand it that know no names of wishes: they can do it twice."""
    return msgspec.structs.replace(request, request_id="") if hasattr(request, "request_id") else request
