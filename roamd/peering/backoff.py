"""How long to wait before the next attempt: doubling with jitter, capped at five minutes (DESIGN section 5)."""

from collections.abc import Callable

FIRST_S = 0.5
CAP_S = 300.0


class Backoff:
    """The waits of one peer. `random` gives n random bytes."""

    def __init__(self, random: Callable[[int], bytes], *, cap_s: float = CAP_S) -> None:
        self._random = random
        self._failures = 0
        self.cap_s = cap_s

    def next_s(self) -> float:
        """The wait after one more failure: between half and all of a step that doubles each time."""
        step: float = min(self.cap_s, FIRST_S * 2 ** min(self._failures, 20))
        self._failures += 1
        share = int.from_bytes(self._random(4), "big") / 2**32
        return step * (0.5 + share / 2)

    def exhaust(self) -> None:
        """As if it had failed for long: the next wait is one of the longest."""
        self._failures = 20

    def reset(self, failures: int = 0) -> None:
        """Begin anew, as if so many attempts had failed so far."""
        self._failures = failures
