"""Every fourth chunk of CI's host-years, from the 4th on: no invariant breaks."""

from __future__ import annotations

from sim import chunks

test_no_invariant_breaks = chunks.years(4)
