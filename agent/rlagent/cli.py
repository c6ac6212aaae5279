"""The command line of `rlagent`, used on the host: by systemd, by `rlctl` over SSH, and by people.

Exit codes: 0 done; 1 it could not be done, standard error or the reply says why; 2 wrong usage or configuration.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import select
import sys
from pathlib import Path

from rlagent import __version__, client, logtail
from rlagent.config import Config, ConfigError, load
from rlagent.paths import Paths
from rlagent.protocol import messages

STOP_EXTRA_S = 60.0
CONFIG_DEFAULT = Path("~/.config/rlfleet/config.toml")


def run(argv: list[str]) -> int:
    """Run one command and return its exit code."""
    args = _parser().parse_args(argv)
    try:
        return int(args.command(args))
    except ConfigError as error:
        print(f"rlagent: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read our output left, as `rlagent logs | head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlagent", description="Keeps trainers running on this host and enforces the scaling policy."
    )
    parser.add_argument("--config", type=Path, help=f"configuration file ($RLFLEET_CONFIG, else {CONFIG_DEFAULT})")
    parser.add_argument("--version", action="version", version=f"rlagent {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = commands.add_parser("run", help="run the agent in the foreground")
    command.add_argument("--detach", action="store_true", help="start it in the background; returns once it answers")
    command.set_defaults(command=_run)

    command = commands.add_parser("call", help="send one JSON request to the agent and print its reply")
    command.add_argument("request", nargs="?", help='for example {"verb": "status"}; from standard input when left out')
    command.add_argument("--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="default: 10")
    command.set_defaults(command=_call)

    command = commands.add_parser("status", help="print the status in a few lines")
    command.set_defaults(command=_status)

    command = commands.add_parser("logs", help="print log lines of a game, or of the agent itself")
    command.add_argument("game", nargs="?", help="a game of the configuration; left out: the agent's own log")
    command.add_argument("-n", "--lines", type=_count, default=50, metavar="N", help="so many last lines (50)")
    command.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    command.set_defaults(command=_logs)

    command = commands.add_parser("check-config", help="check a configuration file")
    command.add_argument("file", nargs="?", type=Path, help="default: the one in use")
    command.set_defaults(command=_check_config)

    command = commands.add_parser("shutdown", help="end the agent; trainers go on")
    command.add_argument(
        "--stop-trainers", action="store_true", help="stop them gracefully first; the next agent starts them again"
    )
    command.set_defaults(command=_shutdown)

    command = commands.add_parser("version", help="print the version")
    command.set_defaults(command=_version)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")


def _config_path(args: argparse.Namespace) -> Path:
    chosen = args.config or os.environ.get("RLFLEET_CONFIG") or CONFIG_DEFAULT
    try:
        return Path(chosen).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(str(chosen), "", str(error)) from None


def _state_dir(config: Config) -> Path:
    try:
        return config.state_dir
    except RuntimeError as error:
        raise ConfigError("config.toml", "[agent] state_dir", str(error)) from None


def _load(args: argparse.Namespace) -> Config:
    """Read the configuration; without any file at the default place the defaults hold."""
    path = _config_path(args)
    if args.config is None and not os.environ.get("RLFLEET_CONFIG") and not path.exists():
        return Config()
    return load(path)


def _paths(args: argparse.Namespace) -> Paths:
    return Paths(_state_dir(_load(args)))


def _run(args: argparse.Namespace) -> int:
    from rlagent import process  # noqa: PLC0415  # everything heavy hangs on the daemon: `rlagent call` stays quick

    config = _load(args)
    if args.detach:
        forwarded = ["--config", str(_config_path(args))] if _config_path(args).exists() else []
        return process.detach(Paths(_state_dir(config)), forwarded)
    return process.foreground(config, Paths(_state_dir(config)))


def _call(args: argparse.Namespace) -> int:
    request = (args.request or sys.stdin.readline()).encode(errors="surrogateescape")
    reply = client.call(_paths(args).socket, request, args.timeout)
    sys.stdout.write(messages.encode(reply).decode())
    return 0 if reply.ok else 1


def _status(args: argparse.Namespace) -> int:
    reply = client.call(_paths(args).socket, messages.encode(messages.GetStatus()))
    if not reply.ok:
        return _complain(reply)
    status = reply.result
    print(f"mode {status['mode']} since {status['mode_since']}, {status['incidents_last_hour']} incidents in an hour")
    for game in status["trainers"]:
        step = "n/a" if game["global_step"] is None else game["global_step"]
        print(f"{game['state']:9} {game['game']:16} pid {game['pid'] or 'n/a'}  step {step}")
    print(
        f"next: {status['next_action']['kind']} {status['next_action']['at'] or ''} {status['next_action']['reason']}"
    )
    return 0


def _logs(args: argparse.Namespace) -> int:
    config = _load(args)
    paths = Paths(_state_dir(config))
    names = [game.name for game in config.games]
    if args.game is not None and args.game not in names:
        print(f"rlagent: logs {args.game}: no such game; the configuration has {', '.join(names)}", file=sys.stderr)
        return 2
    path = paths.agent_log if args.game is None else paths.game_log(args.game)
    source = logtail.follow(path, args.lines) if args.follow else iter(logtail.last_lines(path, args.lines))
    for chunk in source:
        sys.stdout.buffer.write(chunk)
        if args.follow:
            sys.stdout.flush()
            if _reader_left():
                break
    return 0


def _reader_left() -> bool:
    """Whether the other end of our output is closed: a follower of a quiet log must not outlive its SSH session."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _check_config(args: argparse.Namespace) -> int:
    path = args.file or _config_path(args)
    config = load(path)
    ladder = " < ".join(mode.name for mode in config.modes)
    print(f"{path}: good: {ladder}; {len(config.games)} games; state in {_state_dir(config)}")
    return 0


def _shutdown(args: argparse.Namespace) -> int:
    from rlagent import process  # noqa: PLC0415  # as in _run

    config = _load(args)
    # Everything that SIGTERM does not end is killed after the timeout; the rest is for slow disks.
    within_s = config.supervisor.stop_timeout_s + STOP_EXTRA_S if args.stop_trainers else None
    return process.shut_down(Paths(_state_dir(config)), stop_trainers_within_s=within_s)


def _version(_args: argparse.Namespace) -> int:
    print(__version__)
    return 0


def _complain(reply: messages.Reply) -> int:
    error = reply.error
    if error is not None:
        hint = f" ({error.hint})" if error.hint else ""
        print(f"rlagent: {error.message}{hint}", file=sys.stderr)
    return 1
