"""Places and mutants: what is changed, what is left out, how a mutant is named, what a seed draws."""

import textwrap

import pytest

pytest.importorskip("cosmic_ray", reason="installed by `make mutation`")

from mutation import draw
from mutation.places import Source

TEXT = '''
"""A module; 1 + 1."""

from typing import TYPE_CHECKING, Final

__all__ = ["Store"]
if TYPE_CHECKING:
    import no + such
WAIT_S: Final = 15.0
RETRIES = 3
Path = str | None


class Store:
    """Keeps; 1 + 1."""

    def keep(self, value: int | None = None, *, name: str | None) -> int | None:
        """Keep it."""
        log.info("kept %d", 1 < 2)
        self.file.flush()
        if value is not None and value > self.size:
            raise ValueError(f"{value} > 1")
        try:
            read("SELECT a ORDER BY a DESC")
        except (sqlite3.Error, OSError):
            pass
        wait(timeout_s=5)
        return value + 1
'''.replace("import no + such", "import nothing")


def mutants(text: str) -> set[str]:
    return {mutant.identity for mutant in draw.every(Source("a.b", textwrap.dedent(text)))}


def function(body: str) -> set[str]:
    return mutants(f"def f(a, b):\n    {body}\n")


def test_what_decides_nothing_is_left_alone():
    lines = "\n".join(mutants(TEXT))
    for left_out in ("WAIT_S", "__all__", "TYPE_CHECKING", "def keep", "Path", '"""', "log.info", "timeout_s=6"):
        assert left_out not in lines


def test_what_decides_is_changed():
    found = mutants(TEXT)
    some = {
        ": RETRIES = 3 -> RETRIES = 4",
        "Store.keep: self.file.flush() -> pass",
        "Store.keep: return value + 1 -> return value - 1",
        "Store.keep: if value is not None and value > self.size: -> if value is not None and value >= self.size:",
        "Store.keep: if value is not None and value > self.size: -> if value is not None or value > self.size:",
        'Store.keep: read("SELECT a ORDER BY a DESC") -> read("SELECT a ORDER BY a ASC")',
        "Store.keep: except (sqlite3.Error, OSError): -> except (sqlite3.Error, ZeroDivisionError):",
        "Store.keep: except (sqlite3.Error, OSError): -> except (ZeroDivisionError, OSError):",
    }
    assert some - found == set()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a()", {"f: a() -> pass"}),
        ("a(1)", {"f: a(1) -> pass", "f: a(1) -> a( 2)", "f: a(1) -> a( 0)"}),
        ('open(a, "wb").b', {'f: open(a, "wb").b -> open(a, "ab").b'}),
        ("return a is None", {"f: return a is None -> return a is not None"}),
        ('return "wb with words"', set()),
    ],
)  # fmt: skip
def test_one_line(body, expected):
    assert expected == function(body)


def test_lines_that_a_function_has_twice_are_told_apart():
    twice = mutants("def f(a):\n    a.b()\n    return 'c'\n    a.b()\n")
    assert twice == {"f: a.b() -> pass", "f: a.b() -> pass [2]"}


def test_a_mutants_name_survives_edits_elsewhere_and_so_does_the_draw():
    before, after = (Source("a.b", text) for text in (TEXT, TEXT.replace("RETRIES = 3", "\n\nRETRIES = 3\nMORE = ()")))
    assert {one.identity for one in draw.every(before)} == {one.identity for one in draw.every(after)}
    drawn = [[draw.variant(place, "7", source.text).identity for place in draw.ranked(source.places(), "7")[:5]]
             for source in (before, after)]  # fmt: skip
    assert drawn[0] == drawn[1]


def test_another_seed_draws_others():
    source = Source("a.b", TEXT)
    orders = [[place.key for place in draw.ranked(source.places(), seed)] for seed in ("1", "1", "2")]
    assert orders[0] == orders[1] != orders[2]


def test_making_mutants_leaves_the_source_as_it_was():
    source = Source("a.b", TEXT)
    first = [make().source for place in source.places() for make in place.variants]
    assert first == [make().source for place in source.places() for make in place.variants]
    assert TEXT not in first


def test_named_mutants_are_found_again():
    source = Source("a.b", TEXT)
    every = {mutant.identity: mutant for mutant in draw.every(source)}
    found = draw.named(source, [*every, "Store.keep: gone -> away"])
    assert {name: one.source for name, one in found.items()} == {name: one.source for name, one in every.items()}
