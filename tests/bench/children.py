"""Programs of this package as child processes that take orders by lines on stdin and answer by lines on stdout."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from roamd.demo.processes import child_environment
from tests.bench.machine import python


class Child:
    """One of them; it ends when its stdin closes, with us at the latest."""

    def __init__(self, program: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            python(f"tests.bench.{program}", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=child_environment(),
            start_new_session=True,
        )
        self.hello: Any = json.loads(self._read())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def tell(self, words: Sequence[object]) -> str:
        """Give an order, and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self._process.stdin.flush()
        return self._read()

    def ask(self, *words: object) -> dict[str, float]:
        """Give an order whose answer is JSON."""
        answer: dict[str, float] = json.loads(self.tell(words))
        return answer

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        return line

    def close(self) -> None:
        """Let it end."""
        with self._process:
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it is gone already
                self._process.stdin.close()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()


def say(value: object) -> None:
    """In a child: one line of JSON for whoever started it."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
