"""The command line of `rltrain`, built from `Args`: flags win over RLFLEET_* variables, those over defaults.

Only parses: it starts nothing and imports nothing heavy.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from rlagent.protocol import contract
from rltrainer import __version__
from rltrainer.args import Args, complaint, field_docs, flag

_KINDS: Final = {int: "not a whole number", float: "not a number"}


@dataclasses.dataclass(frozen=True)
class Verify:
    """`rltrain verify DIR`."""

    run_dir: Path


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """`rltrain eval DIR`."""

    run_dir: Path
    episodes: int = 10
    seed: int = 1
    greedy: bool = False
    repeat_action_probability: float = 0.0
    noop_max: int = 30
    video: Path | None = None
    output: str = "table"


class _Parser(argparse.ArgumentParser):
    """Argparse with one line for an error, and the nearest flag for a mistyped one."""

    def error(self, message: str) -> NoReturn:
        for kind, meaning in _KINDS.items():
            message = message.replace(f"invalid {kind.__name__} value", meaning)
        self.exit(2, f"{self.prog}: {message.removeprefix('argument ')}; see {self.prog} --help\n")

    def refuse(self, argument: str) -> NoReturn:
        """Exit because of an argument that this parser doesn't know."""
        typed = argument.partition("=")[0]
        flags = [name for action in self._actions for name in action.option_strings]
        near = difflib.get_close_matches(typed, flags, n=1)
        self.error(f"{typed}: no such argument" + (f" (did you mean {near[0]}?)" if near else ""))


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Args | Verify | Evaluate:
    """Read a command line.

    Raises:
        SystemExit: 2 after one line on stderr for bad usage; 0 after `--help` or `--version`.
    """
    top, commands = _build()
    known, unknown = top.parse_known_args(argv)
    flags = vars(known)
    parser = commands[flags.pop("command")]
    if unknown:
        parser.refuse(unknown[0])
    if parser is commands["verify"]:
        return Verify(**flags)
    if parser is commands["eval"]:
        return Evaluate(**flags)
    values = _from_environment(parser, environ, given=flags) | flags
    if "run_dir" not in values:
        parser.error(f"no run directory: pass --run-dir DIR or set {contract.env_name('run_dir')}")
    args = Args(**values)
    fault = complaint(args)
    if fault is not None:
        parser.error(fault)
    return args


def _build() -> tuple[_Parser, dict[str, _Parser]]:
    """Return the parser and those of its commands."""
    parser = _Parser(
        prog="rltrain", description="Train an Atari agent with PPO, with checkpoints that survive anything."
    )
    parser.add_argument("--version", action="version", version=f"rltrain {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{train,eval,verify}")
    train = commands.add_parser(
        "train",
        help="train, or go on with what lies in the run directory",
        description="Train one game until its target. SIGTERM: checkpoint, exit 0. Exit 2: wrong configuration.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    docs = field_docs()
    for each in dataclasses.fields(Args):
        _add(train, each, docs.get(each.name, ""))
    evaluate = commands.add_parser(
        "eval",
        help="play games with the trained actor",
        description="Play whole games with the newest whole checkpoint of a run directory, also while it trains, and "
        "print their returns (raw scores). It only reads, and takes one CPU thread.",
        allow_abbrev=False,
    )
    _add_evaluate(evaluate)
    verify = commands.add_parser(
        "verify",
        help="check the checkpoints of a run directory",
        description="List the checkpoints of a run directory; exit 0 if the newest is whole, 1 otherwise.",
    )
    verify.add_argument("run_dir", metavar="DIR", type=Path, help="a run directory, as given to train --run-dir")
    return parser, {"train": train, "eval": evaluate, "verify": verify}


def _add_evaluate(evaluate: _Parser) -> None:
    add, default = evaluate.add_argument, Evaluate(Path())
    add("run_dir", metavar="DIR", type=Path, help="a run directory, as given to train --run-dir")
    add("--episodes", type=_at_least(1), default=default.episodes, metavar="INT",
        help="whole games to play [default: %(default)s]")  # fmt: skip
    add("--seed", type=_at_least(0), default=default.seed, metavar="INT",
        help="the same seed and checkpoint give the same games [default: %(default)s]")  # fmt: skip
    add("--greedy", action="store_true", help="take the likeliest action instead of sampling, as in training")
    add("--repeat-action-probability", type=_share, default=default.repeat_action_probability, metavar="FLOAT",
        help="sticky actions: 0 as in CleanRL, 0.25 as in ALE's own protocol [default: %(default)s]")  # fmt: skip
    add("--noop-max", type=_at_least(0), default=default.noop_max, metavar="INT",
        help="each game begins with up to so many idle frames [default: %(default)s]")  # fmt: skip
    add("--video", type=Path, metavar="FILE", help="film the best game: FILE.gif, FILE.png or FILE.webp (animated)")
    add("-o", "--output", choices=("table", "json"), default=default.output, help="[default: %(default)s]")


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"not a whole number: {text!r}") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value}: must be at least {least}")
        return value

    return number


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a number: {text!r}") from None
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: must be between 0 and 1")
    return value


def _add(parser: argparse.ArgumentParser, each: dataclasses.Field[Any], doc: str) -> None:
    kind, choices = _kind(each.name)
    variable = f" [{contract.env_name(each.name)}]" if each.name in contract.PLACEHOLDERS else ""
    default = "" if each.default in (dataclasses.MISSING, None) else f" [default: {each.default}]"
    text = (doc + default + variable).replace("%", "%%")
    if kind is bool:
        parser.add_argument(flag(each.name), action=argparse.BooleanOptionalAction, help=text)
    else:
        metavar = None if choices else kind.__name__.upper()
        parser.add_argument(flag(each.name), type=kind, choices=choices, metavar=metavar, help=text)


def _kind(name: str) -> tuple[type, tuple[str, ...] | None]:
    """Return the type a field's text is converted to, and its choices if it has some."""
    hint = typing.get_type_hints(Args)[name]
    if typing.get_origin(hint) is typing.Literal:
        return str, typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return hint, None


def _from_environment(parser: _Parser, environ: Mapping[str, str], *, given: Mapping[str, object]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for each in dataclasses.fields(Args):
        variable = contract.env_name(each.name)
        if each.name not in contract.PLACEHOLDERS or each.name in given or not environ.get(variable):
            continue
        kind, _ = _kind(each.name)
        try:
            values[each.name] = kind(environ[variable])
        except ValueError:
            parser.error(f"{variable}={environ[variable]}: {_KINDS.get(kind, 'not a value')}")
    return values
