"""The orders that both kinds of link end carry out, so that roamd's link and the bare loop are asked the same.

`calls N S`     N calls in flight for S seconds, each answered
`records S`     ready-made batches of records one way for S seconds, each granted when it is taken
`mixed S`       the same batches, and one call at a time beside them
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tests.bench.children import say
from tests.bench.load import Measured, Tally


class Dialler(Protocol):
    """An end that gives orders to the other one."""

    def calls(self, tally: Tally, in_flight: int, seconds: float) -> None: ...
    def records(self, tally: Tally, seconds: float, *, with_calls: bool) -> int: ...


@dataclass
class Orders:
    """Reads orders from stdin and tells what came of them."""

    dialler: Dialler
    peer_pid: int

    def obey(self) -> None:
        """Until stdin closes."""
        orders: dict[str, Callable[..., Measured]] = {
            "calls": self._calls, "records": self._records, "mixed": self._mixed,
        }  # fmt: skip
        for line in sys.stdin:
            name, *numbers = line.split()
            say(orders[name](*map(float, numbers)))

    def _tally(self) -> Tally:
        return Tally((os.getpid(), self.peer_pid))

    def _calls(self, in_flight: float, seconds: float) -> Measured:
        tally = self._tally()
        self.dialler.calls(tally, int(in_flight), seconds)
        return tally.measured()

    def _records(self, seconds: float) -> Measured:
        tally = self._tally()
        count = self.dialler.records(tally, seconds, with_calls=False)
        return {"count": count, "per_s": count / tally.took_s, "cpu_s_per_1000": tally.cpu_used_s / count * 1000}

    def _mixed(self, seconds: float) -> Measured:
        tally = self._tally()
        count = self.dialler.records(tally, seconds, with_calls=True)
        return tally.measured() | {"records_per_s": count / tally.took_s}
