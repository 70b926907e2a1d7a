"""Driving something and noting how it did: closed loops for throughput, open loops for latency."""

import statistics
import time
from dataclasses import dataclass, field

from tests.bench.machine import cpu_s

Measured = dict[str, float]
"""What a probe found: `per_s`, `cpu_s_per_1000`, `p50_ms`, `p99_ms`, and whatever else it names."""


@dataclass
class Tally:
    """Counts what was answered between `begin` and `end`, and how long each took."""

    pids: tuple[int, ...]
    latencies_ns: list[int] = field(default_factory=list)
    began_ns: int = 0
    took_s: float = 0.0
    _cpu_began_s: float = 0.0
    cpu_used_s: float = 0.0
    failed: int = 0

    def begin(self) -> None:
        """The warm-up is over: forget it and count from here."""
        self.latencies_ns.clear()
        self.failed = 0
        self._cpu_began_s = cpu_s(*self.pids)
        self.began_ns = time.perf_counter_ns()

    def end(self) -> None:
        """Stop the watches; what is answered later does not count."""
        self.took_s = (time.perf_counter_ns() - self.began_ns) / 1e9
        self.cpu_used_s = cpu_s(*self.pids) - self._cpu_began_s

    def measured(self) -> Measured:
        """The figures; RuntimeError when nothing was answered, or answered wrongly: such a run measures nothing."""
        return measured(self.latencies_ns, self.took_s, self.cpu_used_s, self.failed)


def measured(latencies_ns: list[int], took_s: float, cpu_used_s: float, failed: int = 0) -> Measured:
    """Rates and percentiles of a run. Raises RuntimeError when it was none."""
    count = len(latencies_ns)
    if not count or failed:
        raise RuntimeError(f"{failed} of {count + failed} requests were not answered as they should be")
    ordered = sorted(latencies_ns)
    return {
        "count": count,
        "per_s": count / took_s,
        "cpu_s_per_1000": cpu_used_s / count * 1000,
        "p50_ms": statistics.median(ordered) / 1e6,
        "p99_ms": ordered[min(count - 1, int(count * 0.99))] / 1e6,
    }
