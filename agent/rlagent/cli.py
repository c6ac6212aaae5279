"""The command line of `rlagent`, used on the host: by systemd, by `rlctl` over SSH, and by people.

Exit codes: 0 done; 1 it could not be done, standard error or the reply says why; 2 wrong usage or
configuration; 3 a replay differs.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rlagent import __version__, client, logtail, revive
from rlagent.config import Config, ConfigError, load
from rlagent.paths import Paths
from rlagent.protocol import messages
from rlagent.protocol.logs import AGENT, LogNotice

STOP_EXTRA_S = 60.0
EXIT_DIFFERS = 3
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

    command = commands.add_parser("stream", help="print lines of several logs as JSON records, for rlctl")
    command.add_argument("source", nargs="*", help="games or patterns of them, or agent (the default)")
    command.add_argument("-n", "--lines", type=_count, default=50, metavar="N", help="so many last lines of each (50)")
    command.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    command.add_argument("--after", action="append", default=[], metavar="SOURCE=PLACE", help="go on behind a place")
    command.set_defaults(command=_stream)

    command = commands.add_parser("reboot", help="reboot this host, for rlctl: announce it and stop trainers first")
    command.add_argument("--check", action="store_true", help="only say whether it can")
    command.set_defaults(command=_reboot)

    command = commands.add_parser("doctor", help="look for what is wrong on this host, each finding with its fix")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument("--program", type=Path, action="append", default=[], help="what a boot hook calls")
    command.set_defaults(command=_doctor)

    command = commands.add_parser("replay", help="fold a journal again and say where this version decides otherwise")
    command.add_argument("journal", nargs="?", type=Path, help="default: this host's; an agent may be writing it")
    command.add_argument("--with-config", type=Path, metavar="FILE", help="go by this configuration's rules instead")
    command.set_defaults(command=_replay)

    command = commands.add_parser("explain", help="print, as a JSON reply, why one line of the journal was decided so")
    command.add_argument("decision", type=_count, metavar="ID", help="its number in the journal: history shows it")
    command.add_argument("journal", nargs="?", type=Path, help="default: this host's")
    command.set_defaults(command=_explain)

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
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
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
        return process.detach(Paths(_state_dir(config)), _forwarded(args))
    return process.foreground(config, Paths(_state_dir(config)))


def _call(args: argparse.Namespace) -> int:
    request = (args.request or sys.stdin.readline()).encode(errors="surrogateescape")
    paths = _paths(args)
    reply = client.call(paths.socket, request, args.timeout)
    if _is_dead(reply) and not _is_shutdown(request):
        revived = _revive(args)
        if revived is not None:
            reply = msgspec.structs.replace(client.call(paths.socket, request, args.timeout), revived=revived)
    sys.stdout.write(messages.encode(reply).decode())
    return 0 if reply.ok else 1


def _is_dead(reply: messages.Reply) -> bool:
    return reply.error is not None and reply.error.code == "agent-not-running"


def _revive(args: argparse.Namespace) -> str | None:
    return revive.revive(_paths(args), os.environ, lambda: _start_detached(args))


def _revive_if_dead(args: argparse.Namespace) -> str | None:
    """Return how a dead agent was revived; None: it is alive, or stays dead."""
    ping = client.call(_paths(args).socket, messages.encode(messages.Ping()))
    return _revive(args) if _is_dead(ping) else None


def _is_shutdown(request: bytes) -> bool:
    with contextlib.suppress(msgspec.MsgspecError):
        return isinstance(messages.decode_request(request), messages.Shutdown)
    return False


def _start_detached(args: argparse.Namespace) -> bool:
    from rlagent import process  # noqa: PLC0415  # as in _run

    return process.start_detached(_paths(args), _forwarded(args)) is None


def _forwarded(args: argparse.Namespace) -> list[str]:
    """Return the arguments that lead another process to the same configuration."""
    return ["--config", str(_config_path(args))] if _config_path(args).exists() else []


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
    revived = _revive_if_dead(args)
    if revived is not None:
        print(f"rlagent: {revived}", file=sys.stderr, flush=True)
    path = paths.agent_log if args.game is None else paths.game_log(args.game)
    source = logtail.follow(path, args.lines) if args.follow else iter(logtail.last_lines(path, args.lines))
    for chunk in source:
        sys.stdout.buffer.write(chunk)
        if args.follow:
            sys.stdout.flush()
            if _reader_left():
                break
    return 0


def _stream(args: argparse.Namespace) -> int:
    from rlagent import logstream  # noqa: PLC0415  # only needed here

    config = _load(args)
    paths = Paths(_state_dir(config))
    games = [game.name for game in config.games]
    try:
        sources = logstream.choose(args.source, games)
    except KeyError as error:
        print(f"rlagent: logs {error.args[0]}: no such game; the configuration has {', '.join(games)}", file=sys.stderr)
        return 2
    revived = _revive_if_dead(args)
    if revived is not None:
        sys.stdout.buffer.write(messages.encode(LogNotice(text=revived)))
    files = {name: paths.agent_log if name == AGENT else paths.game_log(name) for name in sources}
    places = dict(after.rsplit("=", 1) for after in args.after if "=" in after)
    uuid = paths.host_uuid.read_text(encoding="ascii").strip() if paths.host_uuid.exists() else None
    records = logstream.stream(files, args.lines, places, uuid, follow=args.follow, alive=lambda: not _reader_left())
    for record in records:
        sys.stdout.buffer.write(messages.encode(record))
        if args.follow:
            sys.stdout.flush()
    return 0


def _reboot(args: argparse.Namespace) -> int:
    from rlagent import reboot  # noqa: PLC0415  # only needed here

    try:
        if args.check:
            reboot.check()
        else:
            reboot.reboot()
    except reboot.CannotRebootError as error:
        print(f"rlagent: {error}", file=sys.stderr)
        return 1
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from rlagent import doctor  # noqa: PLC0415  # only needed here

    path = _config_path(args)
    # At its default place the configuration may be missing.
    named = args.config is not None or bool(os.environ.get("RLFLEET_CONFIG")) or path.exists()
    programs = [program.expanduser() for program in [*args.program, Path(sys.argv[0])]]
    found = doctor.examine(path if named else None, programs, lambda: _revive_if_dead(args))
    if args.json:
        sys.stdout.write(messages.encode(found).decode())
    else:
        for check in found.checks:
            print(f"{check.verdict:8} {check.name:10} {check.detail}" + (f"; {check.fix}" if check.fix else ""))
    return 0 if all(check.verdict == "good" for check in found.checks) else 1


def _reader_left() -> bool:
    """Whether the other end of our output is closed: a follower of a quiet log must not outlive its SSH session."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def _replay(args: argparse.Namespace) -> int:
    from rlagent import hindsight, history, journal  # noqa: PLC0415  # as in _run
    from rlagent.config import to_rules  # noqa: PLC0415

    path = args.journal or _paths(args).journal
    rules = None if args.with_config is None else to_rules(load(args.with_config))
    lines = differing = 0

    def counted() -> Iterator[journal.Entry]:
        nonlocal lines
        for entry in journal.read(path):
            lines += 1
            yield entry

    try:
        for found in hindsight.differences(counted(), rules):
            differing += 1
            entry = found.entry
            print(f"{history.iso(entry.stamp.wall)} #{entry.seq} {history.entry(entry).summary}")
            print("\n".join(f"  - {decided.reason}" for decided in entry.decisions) or "  - nothing")
            print("\n".join(f"  + {decided.reason}" for decided in found.now) or "  + nothing")
    except journal.JournalError as error:
        print(f"rlagent: {error}", file=sys.stderr)
        return 2
    verdict = "the same decisions" if differing == 0 else f"{differing} decided otherwise (- then, + now)"
    print(f"{path}: {lines} lines replayed: {verdict}")
    return EXIT_DIFFERS if differing else 0


def _explain(args: argparse.Namespace) -> int:
    from rlagent import hindsight, journal  # noqa: PLC0415  # as in _run

    path = args.journal or _paths(args).journal
    try:
        told = hindsight.decision(journal.read(path), args.decision)
    except hindsight.UnknownEntryError:
        hint = "rlctl history shows the numbers: #7"
        error = messages.Error(code="refused", message=f"no line #{args.decision} in {path}", hint=hint)
        reply = messages.Reply(ok=False, error=error)
    except journal.JournalError as error:
        reply = messages.Reply(ok=False, error=messages.Error(code="refused", message=str(error)))
    else:
        reply = messages.Reply(ok=True, result=messages.Explanation(next_action=told[0], lines=told[1:]))
    sys.stdout.write(messages.encode(reply).decode())
    return 0 if reply.ok else 1


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
