"""The command `roamd`: what an operator types.

Every command imports only what it needs, so that one that asks the daemon answers in well under 0.3 s. This is an edge:
whatever fails below ends here as one or two sentences on stderr and an exit code, never as a traceback.

Exit codes: 0 ok, 1 failed, 2 usage, 69 daemon not reachable, 75 try again, 78 configuration; 130 after Ctrl-C.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

from roamd.cli.parser import build_parser
from roamd.errors import OperatorError, RoamdError

INTERRUPTED: Final = 130
"""128 + SIGINT, as shells report it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without UTF-8 shows escapes and does not end the command
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(argv)
    except SystemExit as end:  # argparse's own way out: 0 after --help, 2 after a usage error
        return end.code if isinstance(end.code, int) else 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _nobody_reads()
    except Exception as error:  # noqa: BLE001 - the edge: nothing may reach the operator as a traceback
        return _report(error)


def _run(argv: Sequence[str] | None) -> int:
    options = build_parser().parse_args(argv)
    module, _, function = options.run.partition(":")
    command: Callable[[object], int] = getattr(import_module(f"roamd.cli.{module}"), function)
    code = command(options)
    sys.stdout.flush()
    return code


def _nobody_reads() -> int:
    """The reader of our output left, as `head` does; Python would complain once more when it closes stdout at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _report(error: Exception) -> int:
    for line in _sentences(error).split("\n"):
        print(f"roamd: {_printable(line)}", file=sys.stderr)
    return error.exit_code if isinstance(error, OperatorError) else 1


def _sentences(error: Exception) -> str:
    if isinstance(error, RoamdError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"This is a fault of roamd itself, please report it: {type(error).__name__}: {error}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
