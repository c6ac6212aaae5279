"""Where the lab keeps things on the machine. One machine's labs share these places, whichever checkout they are of."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
"""The checkout that this lab is of."""

STATE = Path("/var/lib/rlfleet-lab")
"""One folder for each lab, named as the lab; it is removed last, so that whatever was left can be found."""

IMAGES = Path("/var/cache/rlfleet-lab")
"""Base images, named by what is in them. They may be removed when no lab runs; the next start builds them again."""

PREFIX = "rlfleet-"
"""What the lab's network namespaces and machines are called begins with this."""
