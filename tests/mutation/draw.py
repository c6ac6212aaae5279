"""Draws mutants: which places, and which variant of each.

A place's rank is a hash of the seed and its name, so the same seed draws the same places again, and an edit elsewhere
changes nothing. Places are drawn evenly, however many variants each has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from mutation.places import Mutant, Place, Source


def ranked(places: Iterable[Place], seed: str) -> list[Place]:
    """Return places in the order of their draw."""
    return sorted(places, key=lambda place: _rank(seed, place.module, place.key))


def variant(place: Place, seed: str, original: str) -> Mutant | None:
    """Return one valid variant of a place; None if it has none."""
    for number in sorted(range(len(place.variants)), key=lambda n: _rank(seed, place.module, place.key, str(n))):
        mutant = place.variants[number]()
        if mutant.is_valid(original):
            return mutant
    return None


def every(source: Source) -> Iterator[Mutant]:
    """Yield every mutant of a module."""
    seen = set()
    for place in source.places():
        for make in place.variants:
            mutant = make()
            if mutant.identity not in seen and mutant.is_valid(source.text):
                seen.add(mutant.identity)
                yield mutant


def named(source: Source, identities: Iterable[str]) -> dict[str, Mutant]:
    """Return the mutants of these identities that the module still has."""
    wanted = set(identities)
    found: dict[str, Mutant] = {}
    for place in source.places():
        # A place's name begins with the function, and so does its mutants': most need not be made.
        function = place.key.partition(": ")[0]
        if any(identity.startswith(f"{function}: ") for identity in wanted):
            made = (make() for make in place.variants)
            found |= {mutant.identity: mutant for mutant in made if mutant.identity in wanted}
    return found


def _rank(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()
