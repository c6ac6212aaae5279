"""Network namespaces of a lab: one with a bridge for the controller, one for each host; not what is in hosts.

No address is ever put on the machine's own interfaces: nothing can collide or leak, and hosts have no way out.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from pathlib import Path

from lab import places
from lab.commands import LabError, run

NAMED = Path("/run/netns")
BRIDGE = "br0"
CONTROLLER_ADDRESS = "10.77.0.1"
FIRST_HOST = 10
"""The last part of the first host's address."""

_CLONE_NEWNET = 0x40000000


def address(index: int) -> str:
    """Return the address of the host with this index; the same in every lab, as each lab is alone in its namespace."""
    return f"10.77.{(FIRST_HOST + index) // 250}.{(FIRST_HOST + index) % 250}"


def hardware_address(ip: str) -> str:
    """Return the Ethernet address of whoever has an IP address in the lab."""
    return ":".join(f"{byte:02x}" for byte in (2, 0, *map(int, ip.split("."))))


def port(index: int) -> str:
    """Return the name of a host's port on the bridge."""
    return f"port{index}"


def create_lab(name: str) -> None:
    """Make a lab's namespace with its bridge."""
    run("ip", "netns", "add", name)
    _batch(
        name,
        # Else its address would be that of one of its ports, and with each change of it all neighbours are forgotten.
        f"link add {BRIDGE} address {hardware_address(CONTROLLER_ADDRESS)} type bridge forward_delay 0",
        f"addr add {CONTROLLER_ADDRESS}/16 dev {BRIDGE}",
        f"link set {BRIDGE} up",
        "link set lo up",
    )


def create_host(lab: str, name: str, index: int) -> None:
    """Make a host's namespace and plug it into the lab's bridge. There is no default route: no way out.

    The controller knows its Ethernet address for good. Else packets to a host that is cut off would after some seconds
    end in "no route to host", which nobody hears of a host behind a router.
    """
    run("ip", "netns", "add", name)
    _batch(
        lab,
        f"link add {port(index)} type veth peer name eth0 address {hardware_address(address(index))} netns {name}",
        f"link set {port(index)} master {BRIDGE} up",
        f"neigh replace {address(index)} lladdr {hardware_address(address(index))} dev {BRIDGE} nud permanent",
    )
    _batch(name, f"addr add {address(index)}/16 dev eth0", "link set eth0 up", "link set lo up")


def delete(lab: str) -> None:
    """Remove a lab's namespace and those of its hosts; none need be left."""
    if NAMED.is_dir():
        for name in sorted(file.name for file in NAMED.iterdir()):
            if name == lab or name.startswith(f"{lab}-"):
                run("ip", "netns", "del", name)


def cut(lab: str, index: int) -> None:
    """Let a host's packets vanish both ways, silently, as a network between two machines does."""
    run("bridge", "-n", lab, "link", "set", "dev", port(index), "state", "disabled")


def mend(lab: str, index: int) -> None:
    """Let packets through again."""
    run("bridge", "-n", lab, "link", "set", "dev", port(index), "state", "forwarding")


def detour(lab: str, index: int) -> tuple[str, str]:
    """Move a host to a bridge of its own; return the two taps to carry frames between, outer and inner."""
    outer, inner, bridge = f"outer{index}", f"inner{index}", f"br{index + 1}"
    _batch(
        lab,
        f"tuntap add dev {outer} mode tap",
        f"tuntap add dev {inner} mode tap",
        f"link add {bridge} type bridge forward_delay 0",
        f"link set {bridge} up",
        f"link set {inner} master {bridge} up",
        f"link set {outer} master {BRIDGE} up",
        f"link set {port(index)} master {bridge}",
    )
    return outer, inner


def end_detour(lab: str, index: int) -> None:
    """Move a host back to the lab's bridge."""
    _batch(
        lab,
        f"link set {port(index)} master {BRIDGE}",
        f"link del outer{index}",
        f"link del inner{index}",
        f"link del br{index + 1}",
    )


def inside(name: str) -> list[str]:
    """Return the words that run a command in a namespace, with the machine's own mounts."""
    return ["nsenter", f"--net={NAMED / name}"]


def connect(name: str, target: str, number: int, timeout_s: float) -> socket.socket:
    """Open a TCP connection from within a namespace; raises OSError as `socket.create_connection` does.

    The socket keeps belonging to the namespace, so that any thread may use it.
    """
    made: list[socket.socket | OSError] = []

    def enter_and_connect() -> None:
        try:
            _enter(name)
            made.append(socket.create_connection((target, number), timeout=timeout_s))
        except OSError as error:
            made.append(error)

    # A thread of its own: it is in the namespace till it ends.
    thread = threading.Thread(target=enter_and_connect, name=f"connect-{name}")
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def _enter(name: str) -> None:
    """Move this thread into a namespace."""
    handle = os.open(NAMED / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(NAMED / name))
    finally:
        os.close(handle)


def _batch(name: str, *lines: str) -> None:
    """Run several commands of `ip` in a namespace at the price of one."""
    if not name.startswith(places.PREFIX):
        raise LabError(f"{name}: not a namespace of the lab")
    run("ip", "-n", name, "-batch", "-", given="\n".join(lines) + "\n")
