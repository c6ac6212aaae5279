"""Where a source can be changed, and into what: cosmic-ray's operators and our own, without what `scope` leaves out.

Owns a mutant's identity, "function: old line -> new line", which survives edits elsewhere. A place is one operator of
one kind at one position; it has one or more variants, since `+` can become eleven other operators.
"""

from __future__ import annotations

import ast
import contextlib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from itertools import takewhile

import parso
from cosmic_ray.ast import ast_nodes
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names
from parso.tree import BaseNode, NodeOrLeaf

from mutation.own import CatchNoException, ExchangeWord, RemoveCall
from mutation.scope import Position, Scope

LEFT_OUT = re.compile(
    "VariableReplacer|VariableInserter|ExceptionReplacer"
    "|Comparison.*_(Eq|NotEq|Lt|LtE|Gt|GtE)_Is(Not)?$|Comparison.*_Is(Not)?_(Eq|NotEq|Lt|LtE|Gt|GtE)$"
)
"""Operators of cosmic-ray's that are not used: two take random numbers, for the third there is one of our own, and
whether `is` or `==` compares with None or a class is a question of style."""
KINDS = {
    "Binary": "operator", "Comparison": "comparison", "Unary": "factor not_test", "True": "keyword", "False": "keyword",
    "And": "keyword", "Or": "keyword", "Break": "keyword", "Continue": "keyword", "AddNot": "if_stmt while_stmt test",
    "Exception": "except_clause", "Number": "number", "Decorator": "decorator", "ZeroIteration": "for_stmt",
    "RemoveCall": "atom_expr power", "ExchangeWord": "string fstring_string",
}  # fmt: skip
"""Kinds of operators, by the first of these words in their name, and the nodes that each looks at."""


PUNCTUATION = {".", ",", ":", ";", "=", "->", "(", ")", "[", "]", "{", "}", ":=", "@"}
"""Most of what parso calls operators: no need to ask a hundred operators about each comma."""


@dataclass(frozen=True)
class Mutant:
    """One change of a module."""

    module: str
    identity: str
    source: str = field(repr=False, compare=False)

    def is_valid(self, original: str) -> bool:
        """Whether it compiles and differs in more than its looks."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return _tree(self.source) != _tree(original)
            except (SyntaxError, ValueError):
                return False


@dataclass
class Place:
    """A position that one kind of operators can change."""

    module: str
    key: str
    """Names it without line numbers: function, text of the line, kind, which of several."""
    variants: list[Callable[[], Mutant]] = field(default_factory=list)


class Source:
    """The text of one module, cut into its places."""

    def __init__(self, module: str, text: str) -> None:
        self.module = module
        self.text = text
        self._lines = text.splitlines()
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._scope = Scope(text)
        self._alike: dict[tuple[str, str], list[int]] = {}

    def places(self) -> list[Place]:
        """Return every place with its variants; the same text gives the same ones in the same order."""
        found: dict[tuple[Position, str], Place] = {}
        keys: Counter[str] = Counter()
        for node in ast_nodes(parso.parse(self.text)):
            if node.type == "operator" and node.value in PUNCTUATION:
                continue
            for kind, operator in _operators().get(node.type, []):
                for index, (begin, _) in enumerate(operator.mutation_positions(node)):
                    if self._is_left_out(node, kind, begin):
                        continue
                    if (begin, kind) not in found:
                        words = f"{self._scope.function(begin)}: {self._lines[begin[0] - 1].strip()} [{kind}]"
                        keys[words] += 1
                        found[begin, kind] = Place(self.module, f"{words} {keys[words]}")
                    found[begin, kind].variants.append(partial(self._mutant, node, operator, index, begin))
        return list(found.values())

    def _is_left_out(self, node: NodeOrLeaf, kind: str, at: Position) -> bool:
        if self._scope.is_out(at):
            return True
        if kind == "Binary":
            # The star of `def f(a, *, b)` or of `{**a}`.
            return node.parent.type in ("parameters", "lambdef", "param", "dictorsetmaker", "arglist")
        # Log lines and what is printed.
        return kind in ("RemoveCall", "ExchangeWord") and node.type != "fstring_string" and self._scope.is_message(at)

    def _mutant(self, node: NodeOrLeaf, operator: Operator, index: int, at: Position) -> Mutant:
        begin, end = (self._offset(position) for position in (node.get_start_pos_of_prefix(), node.end_pos))
        with _kept(node):
            changed = operator.mutate(node, index)
            code = _prefix_of_removed(node) if changed is None else changed.get_code()
        source = self.text[:begin] + code + self.text[end:]
        old, new = _changed_lines(self.text[:begin].count("\n"), self.text, source)
        return Mutant(self.module, f"{self._scope.function(at)}: {old} -> {new}{self._which(at)}", source)

    def _which(self, at: Position) -> str:
        """Tell lines apart that a function has twice."""
        key = self._scope.function(at), self._lines[at[0] - 1].strip()
        lines = self._alike.setdefault(key, [])
        if not lines:
            same = [number for number, line in enumerate(self._lines, 1) if line.strip() == key[1]]
            lines += [number for number in same if self._scope.function((number, at[1])) == key[0]]
        which = lines.index(at[0]) + 1 if at[0] in lines else 1
        return f" [{which}]" if which > 1 else ""

    def _offset(self, at: tuple[int, int]) -> int:
        return self._starts[at[0] - 1] + at[1]


@lru_cache(maxsize=8)
def _tree(source: str) -> str:
    return ast.dump(ast.parse(source))


def _changed_lines(first: int, old: str, new: str) -> tuple[str, str]:
    """Return the lines that differ, each side as one line; nothing before line number `first` (from 0) does."""
    old_lines, new_lines = old.splitlines()[first:], new.splitlines()[first:]
    head = _same(old_lines, new_lines)
    old_lines, new_lines = old_lines[head:], new_lines[head:]
    tail = _same(old_lines[::-1], new_lines[::-1])
    sides = (lines[: len(lines) - tail] for lines in (old_lines, new_lines))
    before, after = (re.sub(r"\s+", " ", " ".join(side)).strip() for side in sides)
    return before, after


def _same(some: list[str], others: list[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(some, others, strict=False)))


@contextlib.contextmanager
def _kept(node: NodeOrLeaf) -> Iterator[None]:
    """Put a node back as it was: operators change it in place, and parsing again for each would take minutes."""
    nodes = list(ast_nodes(node))
    children = [(one, list(one.children)) for one in nodes if isinstance(one, BaseNode)]
    values = [(one, one.value) for one in nodes if not isinstance(one, BaseNode)]
    try:
        yield
    finally:
        for one, kept in children:
            one.children = kept
        for one, value in values:
            one.value = value


def _prefix_of_removed(node: NodeOrLeaf) -> str:
    """Return what stays of a node that is removed: the blank lines and comments before it."""
    return node.get_first_leaf().prefix.rpartition("\n")[0]


@cache
def _operators() -> dict[str, list[tuple[str, Operator]]]:
    """Return the operators by the type of the nodes they look at: asking all of each node takes minutes."""
    by_type: dict[str, list[tuple[str, Operator]]] = {}
    classes = [get_operator(name) for name in operator_names() if not LEFT_OUT.search(name)]
    for operator in [*(one() for one in classes), RemoveCall(), ExchangeWord(), CatchNoException()]:
        name = type(operator).__name__
        kind = min((word for word in KINDS if word in name), key=name.index)
        for node_type in KINDS[kind].split():
            by_type.setdefault(node_type, []).append((kind, operator))
    return by_type
