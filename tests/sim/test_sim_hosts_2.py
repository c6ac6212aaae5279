"""Every fourth chunk of CI's simulated hosts, from the 2nd on: no invariant breaks."""

from __future__ import annotations

from sim import chunks

test_no_invariant_breaks = chunks.hosts(2)
