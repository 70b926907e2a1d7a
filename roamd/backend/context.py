"""What every handler needs, in one place."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from roamd.backend.auth import KeyHolder
from roamd.backend.idempotency import MemoryAnswers
from roamd.backend.waiting import EventHub, QuestionTakers
from roamd.clock import Clock


class CoreLink(Protocol):
    """The way to the core; `bridge.CoreClient` is the real one.

    The implementer promises that every operation is replied to once, on the asyncio thread.
    """

    def tell(self, operation: object, reply: Callable[[Any], None]) -> None:
        """Send an operation; `reply` gets its reply or a RoamdError."""
        ...

    def ask(self, operation: object) -> Awaitable[Any]:
        """The reply; raises the RoamdError that the core replied with."""
        ...

    async def ask_many(self, operations: Sequence[object]) -> list[Any]:
        """All replies in order, refusals among them as values."""
        ...


def always_ready() -> str | None:
    """A readiness that has nothing to say against."""
    return None


def no_metrics() -> bytes:
    """Metrics of a process that measures nothing."""
    return b""


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What the configuration and the daemon say about the API."""

    names: frozenset[str] = frozenset()
    """Further host names (lower case, no port) under which the API may be called; loopback always is."""
    default_deadline_ms: int = 3000
    readiness: Callable[[], str | None] = always_ready
    """None when the daemon serves, else why not yet."""
    metrics: Callable[[], bytes] = no_metrics
    """The Prometheus text."""


@dataclass(slots=True)
class Api:
    """The parts that handlers share. `own_parties` (canonical) may be replaced at a reload, and so may `settings`.

    `listen_names` are the names by which the API can be called because it listens there.
    """

    core: CoreLink
    keys: KeyHolder
    clock: Clock
    own_parties: frozenset[str]
    settings: ApiSettings = field(default_factory=ApiSettings)
    events: EventHub = field(default_factory=EventHub)
    takers: QuestionTakers = field(default_factory=QuestionTakers)
    answers: MemoryAnswers = field(default_factory=MemoryAnswers)
    listen_names: frozenset[str] = frozenset()
    ocpi: object = None
    """What `ocpi.operating` tells of the OCPI backends; None while none is configured."""
    routes: object = None
    """The partners without roamd (`ocpi.plain.book`)."""
    _names_of: tuple[ApiSettings, frozenset[str], frozenset[str]] | None = field(default=None, init=False)

    @property
    def host_names(self) -> frozenset[str]:
        """All names besides loopback; the same object until settings or listening change."""
        known = self._names_of
        if known is None or known[0] is not self.settings or known[1] is not self.listen_names:
            names = self.settings.names | self.listen_names
            known = self._names_of = (self.settings, self.listen_names, names)
        return known[2]
