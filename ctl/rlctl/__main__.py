"""The entry point: checks what is installed, runs a command, and turns each error into one line and an exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import NoReturn

from rlagent.protocol import extras
from rlctl import exits

_EXIT_TERMINATED = 143


def main() -> NoReturn:
    """Run `rlctl` and exit with its code."""
    extras.require("rlctl", "ctl", "typer", "rich", "fabric", "ansible")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_EXIT_TERMINATED))  # so that children and terminals are left tidy
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an odd locale costs a sign, not the output
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:  # the reader of a pipe is gone, as in `rlctl logs | head`: that is for it to know
        code = exits.ERROR
    # Not sys.exit: threads that still wait for a dead host, wherever they hang, must not keep the person waiting.
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; the one place that catches errors."""
    import typer  # noqa: PLC0415  # after the check that it is there
    from typer.main import get_command  # noqa: PLC0415

    from rlctl.errors import RlctlError  # noqa: PLC0415
    from rlctl.main import app  # noqa: PLC0415

    # Its home moved between typer's versions.
    click_error: type[Exception] = next(
        kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
    )
    try:
        return get_command(app).main(arguments or ["--help"], prog_name="rlctl", standalone_mode=False) or 0
    except RlctlError as error:
        return _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return exits.INTERRUPTED
    except click_error as error:
        context = getattr(error, "ctx", None)
        command = "rlctl" if context is None else context.command_path
        return _fail(f"{_sentence(error)}; see: {command} --help", exits.USAGE)
    except Exception as error:
        if os.environ.get("RLFLEET_TRACEBACK"):
            raise
        text = f"{type(error).__name__}: {error}"
        return _fail(f"this is a bug: {text}; set RLFLEET_TRACEBACK=1 to see where", exits.ERROR)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"rlctl: {message}\n")
    return code


def _sentence(error: BaseException) -> str:
    text: str = error.format_message()  # type: ignore[attr-defined]  # every ClickException has it
    return " ".join(text.split()).rstrip(".")


if __name__ == "__main__":
    main()
