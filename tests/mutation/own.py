"""Kinds of mutants that cosmic-ray has not: calls left out, words of SQL and modes exchanged, exceptions not caught.

They follow its operators' interface: `mutation_positions(node)` yields places, `mutate(node, index)` changes one.
"""

from __future__ import annotations

import ast
import re

from parso.python.tree import Keyword, Name, String
from parso.tree import NodeOrLeaf

WORDS = {
    "w": "a", "a": "w", "wb": "ab", "ab": "wb", "r+b": "w+b", "x": "w", "xb": "wb",
}  # fmt: skip
"""Modes of files: each works and does something else."""
SQL = {
    "DESC": "ASC", "ASC": "DESC", "IMMEDIATE": "DEFERRED", "FULL": "OFF", "COMMIT": "ROLLBACK", "ROLLBACK": "COMMIT",
    "max": "min", "min": "max", "OR REPLACE": "OR IGNORE", "RESTART": "PASSIVE", "WAL": "DELETE", "AND": "OR",
    "LIMIT 1": "LIMIT 2", "EXCLUSIVE": "DEFERRED", ">": ">=", ">=": ">", "<": "<=", "<=": "<",
}  # fmt: skip
"""Words of SQL: each statement stays valid and does something else."""
_SQL_WORD = re.compile(r"OR REPLACE|LIMIT 1|[<>]=?|\b(?:" + "|".join(word for word in SQL if word.isalpha()) + r")\b")
_IS_SQL = re.compile(r"\b(SELECT|INSERT|DELETE|UPDATE|PRAGMA|BEGIN|COMMIT|ROLLBACK|CREATE|ORDER BY)\b")


class RemoveCall:
    """A statement that only calls something is left out: an fsync, a chmod, a lock's release."""

    def mutation_positions(self, node: NodeOrLeaf):
        """Yield the statement, if it is one."""
        if node.type in ("atom_expr", "power") and node.parent.type == "simple_stmt" and _is_call(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: NodeOrLeaf, index: int) -> Keyword:
        """Return `pass` in its place."""
        return Keyword("pass", node.start_pos, prefix=node.get_first_leaf().prefix)


class ExchangeWord:
    """A mode of a file, or a word of SQL, becomes another that is valid as well."""

    def mutation_positions(self, node: NodeOrLeaf):
        """Yield one position for each word that can be exchanged."""
        for _ in self._exchanged(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: String, index: int) -> String:
        """Return the text with its index-th word exchanged."""
        return String(self._exchanged(node)[index], node.start_pos, prefix=node.prefix)

    def _exchanged(self, node: NodeOrLeaf) -> list[str]:
        if node.type not in ("string", "fstring_string"):
            return []
        text = node.value
        if node.type == "string" and (value := _value(text)) in WORDS:
            return [text.replace(value, WORDS[value])]
        if not _IS_SQL.search(text):
            return []
        found = _SQL_WORD.finditer(text)
        return [text[: word.start()] + SQL[word[0]] + text[word.end() :] for word in found]


class CatchNoException:
    """An exception is caught no more; cosmic-ray's own operator knows no dotted names."""

    def mutation_positions(self, node: NodeOrLeaf):
        """Yield each exception that a clause names."""
        for one in _caught(node):
            yield one.start_pos, one.end_pos

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        """Catch one that nobody raises instead."""
        old = _caught(node)[index]
        siblings = old.parent.children
        prefix = old.get_first_leaf().prefix
        siblings[siblings.index(old)] = Name("ZeroDivisionError", old.start_pos, prefix=prefix)
        return node


def _caught(node: NodeOrLeaf) -> list[NodeOrLeaf]:
    named = node.children[1] if node.type == "except_clause" else None
    if named is None or named.type != "atom":
        return [named] if named else []
    inner = named.children[1]
    return [one for one in inner.children if one.type != "operator"] if inner.type == "testlist_comp" else [inner]


def _is_call(node: NodeOrLeaf) -> bool:
    last = node.children[-1]
    return last.type == "trailer" and last.children[0].value == "("


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return None
