"""Which parts of a source no mutant may touch, as nothing there decides anything at run time; and where functions lie.

Owns the reasons for leaving places out; knows nothing of operators.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

PATIENCE = re.compile(r"(^|_)(s|ms|mib|bytes|timeout|timeout_s|width|interval)$", re.IGNORECASE)
"""Names whose numbers are a matter of taste: one second of patience more or less is no fault."""
SHAPE = {"frozen", "slots", "kw_only", "gc", "repr", "eq"}
"""Keywords of classes and dataclasses that guard against mistakes of programmers."""
TYPING = {"override", "final", "overload"}
MESSAGES = re.compile(r"^(_?log|logger|logging|console|stderr|warnings)\.|^(print|say|warn|echo|Option)$")
"""Calls that only tell people something."""
PUBLIC = {"__all__", "__version__"}

Position = tuple[int, int]


class Span(NamedTuple):
    """A part of the source, its end excluded: lines from 1, columns in characters from 0."""

    begin: Position
    end: Position

    def holds(self, at: Position) -> bool:
        """Whether a position lies in it."""
        return self.begin <= at < self.end


class Scope:
    """What is known of one source: its functions, and what is left out."""

    def __init__(self, source: str) -> None:
        self._lines = source.splitlines()
        tree = ast.parse(source)
        self._functions = list(self._named(tree))
        self._out: list[Span] = []
        self._strings: list[Span] = []
        for node in ast.walk(tree):
            self._out += [self._span(part) for part in (*_types(node), *_tastes(node))]
            self._strings += [self._span(part) for part in _messages(node)]

    def is_out(self, at: Position) -> bool:
        """Whether no mutant may touch this position."""
        return any(span.holds(at) for span in self._out)

    def is_message(self, at: Position) -> bool:
        """Whether a text at this position is for people: in an error, a log line, a docstring."""
        return any(span.holds(at) for span in self._strings)

    def function(self, at: Position) -> str:
        """Return the qualified name of the function or class around a position; empty at the top of a module."""
        around = [(span.begin, name) for name, span in self._functions if span.holds(at)]
        return max(around)[1] if around else ""

    def _named(self, tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Span]]:
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                span = self._span(node)
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                yield prefix + node.name, Span((first, 0), span.end)
                yield from self._named(node, f"{prefix}{node.name}.")
            else:
                yield from self._named(node, prefix)

    def _span(self, node: ast.AST) -> Span:
        begin = self._at(node.lineno, node.col_offset)
        return Span(begin, self._at(node.end_lineno, node.end_col_offset))

    def _at(self, line: int, offset: int) -> Position:
        """Turn ast's offset in bytes into characters."""
        return line, len(self._lines[line - 1].encode()[:offset].decode())


def _types(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of one node that only type checkers evaluate."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            arguments += [extra for extra in (node.args.vararg, node.args.kwarg) if extra]
            yield from (argument.annotation for argument in arguments if argument.annotation)
            yield from [node.returns] if node.returns else []
            yield from (one for one in node.decorator_list if isinstance(one, ast.Name) and one.id in TYPING)
        case ast.AnnAssign():
            yield node.annotation
            yield from [node.value] if node.value and _name(node.annotation) == "TypeAlias" else []
        case ast.Assign() if _is_type(node.value):
            yield node
        case ast.If(test=test) if _name(test) == "TYPE_CHECKING":
            yield node
        case ast.Call(func=ast.Name(id="cast" | "TypeVar" | "NewType"), args=[first, *_]):
            yield first


def _tastes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of one node that only tell people something, or could as well be a little different."""
    match node:
        case ast.AnnAssign(target=target, value=value) | ast.Assign(targets=[target], value=value):
            if _is_patience(target, value) or _name(target) in PUBLIC:
                yield node
        case ast.keyword(arg=str(word)) if word in SHAPE or _is_patience(ast.Name(word), node.value):
            yield node.value
        case ast.Expr(value=ast.Constant()):
            yield node
        case ast.Call(func=function) if MESSAGES.search(ast.unparse(function)):
            yield node


def _messages(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what holds texts for people."""
    match node:
        case ast.Raise() | ast.JoinedStr() | ast.Expr(value=ast.Constant()):
            yield node
        case ast.Call(func=function) if _name(function).endswith("Error"):
            yield node
        case ast.keyword(arg="help" | "message" | "hint" | "reason" | "metavar" | "description" | "prog"):
            yield node.value


def _is_patience(target: ast.AST, value: ast.AST | None) -> bool:
    """Whether a number is given a name that says how long to wait or how much to hold."""
    numbers = (ast.Constant, ast.BinOp, ast.UnaryOp)
    return isinstance(value, numbers) and bool(PATIENCE.search(_name(target)))


def _is_type(value: ast.AST) -> bool:
    """Whether a value is a union of types: `int | None`."""
    if not isinstance(value, ast.BinOp) or not isinstance(value.op, ast.BitOr):
        return False
    words = {"int", "float", "str", "bytes", "bool", "None", "list", "dict", "tuple", "set"}
    return all(
        _is_type(side) or _name(side) in words or _name(side)[:1].isupper() for side in (value.left, value.right)
    )


def _name(node: ast.AST) -> str:
    """Return the last word of a name; empty for anything else."""
    match node:
        case ast.Name(id=word) | ast.Attribute(attr=word):
            return word
        case ast.Subscript(value=value):
            return _name(value)
        case ast.Constant(value=None):
            return "None"
    return ""
