"""The command `roamd` in the test's own process: what an operator's commands do, without a Python that starts anew.

A start costs more than what most commands do, and a fleet of two takes five of them before its test begins. That the
command works as a process is shown where it matters: tests/cli, tests/demo and the storms run it so.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from unittest import mock

from roamd.cli import INTERRUPTED, main
from roamd.demo.processes import COMMAND_S, ROAMD, CommandFailedError, Daemon, Done


class OperatedHere(Daemon):
    """A daemon whose process is one; its operator's commands are none."""

    def run(self, *arguments: str, expect: Sequence[int] = (0,), stdin: str = "", within_s: float = COMMAND_S) -> Done:
        """Run a command of this daemon's operator (`-c` is added); it is not stopped when it takes too long."""
        return run_here(*arguments, "-c", str(self.config), expect=expect, stdin=stdin)


def run_here(*arguments: str, expect: Sequence[int] = (0,), stdin: str = "", command: Sequence[str] = ROAMD) -> Done:
    """Run one command. Raises CommandFailedError unless it ends with one of `expect` (empty: any).

    Ctrl-C meanwhile is a KeyboardInterrupt, as anywhere else.
    """
    assert command == ROAMD, "what stands in for roamd can only be a process"
    out, err = _stream(), _stream()
    with _surroundings(stdin), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    if code == INTERRUPTED:
        raise KeyboardInterrupt  # the command took it for its own; it was for all of us
    done = Done(f"roamd {' '.join(arguments)}", code, _text(out), _text(err))
    if expect and done.code not in expect:
        raise CommandFailedError(done)
    return done


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


@contextlib.contextmanager
def _surroundings(stdin: str) -> Iterator[None]:
    """Stdin, and an environment without settings of ours."""
    given = io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ROAMD")}
    with mock.patch.dict(os.environ, ours, clear=True), mock.patch.object(sys, "stdin", given):
        yield
