"""The program `shmlog`: runs a command and turns what went wrong into one line and an exit code.

0 done · 1 an error, said on one line · 2 a command line that makes no sense
130 Ctrl-C · 143 SIGTERM · 141 nobody reads our output
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import click
    from typing_extensions import Buffer

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
OUTPUT_NAME = "standard output"
COMPLETION_VARIABLE = "_SHMLOG_COMPLETE"


def main(load_command: Callable[[], click.Command] | None = None, name: str = "shmlog") -> None:
    """The console script. SIGTERM unwinds as Ctrl-C does, so that nothing temporary is left."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.stdout = _nowhere() if sys.stdout is None else _named_output(sys.stdout)
    sys.stderr = _nowhere() if sys.stderr is None else sys.stderr
    sys.exit(run(sys.argv[1:], load_command, name))


def run(arguments: Sequence[str], load_command: Callable[[], click.Command] | None = None, name: str = "shmlog") -> int:
    """Run one command line and return its exit code; nothing but our own bugs is raised.

    `load_command` imports the command and returns it; without it, `shmlog` itself is run.
    """
    try:
        return _run(list(arguments), load_command or _load_root, name)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return EXIT_BROKEN_PIPE


class StandardOutput(io.FileIO):
    """Descriptor 1, whose errors say that they are its own."""

    def write(self, data: Buffer) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = OUTPUT_NAME
            raise


def _named_output(before: TextIO) -> TextIO:
    """`before`, which keeps its descriptor, over a StandardOutput."""
    raw = StandardOutput(before.fileno(), "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), before.encoding, before.errors, line_buffering=before.isatty())


def _nowhere() -> TextIO:
    """In the place of a descriptor that was closed before we began."""
    return open(os.devnull, "w", encoding="utf-8")


def _terminate(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _load_root() -> click.Command:
    from shmlog.cli.root import root

    return root


def _run(arguments: list[str], load_command: Callable[[], click.Command], name: str) -> int:
    import click

    from shmlog.errors import ShmlogError

    command = load_command()
    if COMPLETION_VARIABLE in os.environ:
        command.main(prog_name=name, complete_var=COMPLETION_VARIABLE)
    try:
        with command.make_context(name, arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as leaving:
        sys.stdout.flush()
        return leaving.exit_code
    except click.Abort:
        return EXIT_INTERRUPTED
    except click.UsageError as error:
        return _usage_error(error)
    except click.ClickException as error:
        return _complain(error.format_message(), EXIT_ERROR)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename == OUTPUT_NAME:
            _forget_output()
        return _complain(_in_words(error), EXIT_ERROR)
    except ShmlogError as error:
        return _complain(str(error) or type(error).__name__, EXIT_ERROR)
    return 0


def _usage_error(error: click.UsageError) -> int:
    """What is wrong, and where the help is; without any argument, the help itself."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return EXIT_USAGE
    path = error.ctx.command_path if error.ctx is not None else "shmlog"
    return _complain(f"{error.format_message().rstrip('.')} (see {path} --help)", EXIT_USAGE)


def _in_words(error: OSError) -> str:
    """Which file, if that is known, and what the kernel says."""
    said = error.strerror or str(error) or type(error).__name__
    return said if error.filename is None else f"{os.fsdecode(error.filename)}: {said}"


def _complain(message: str, code: int) -> int:
    with contextlib.suppress(OSError):  # what went wrong first is what is said
        sys.stdout.flush()
    one_line = " ".join(message.split())
    print(f"error: {one_line}", file=sys.stderr)
    return code


def _forget_output() -> None:
    """Nobody reads: what is still buffered must not complain when Python flushes it at exit."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


if __name__ == "__main__":
    main()
