"""Every metric that `/metrics` shows, in one registry: names with base units, and no personal value as a label.

Labels are bounded: `peer` by the number of paired peers, all others by tables in the code. Rooms import the metric that
they feed and call `.labels(...).inc()`; on a hot path `child(metric, ...).inc()`, because `labels` looks it up slowly.

Counters and gauges with a peer are our own (`PerPeer`): a child of prometheus_client is a kilobyte, and each idle peer
has several.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client import Metric as Shown
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from roamd import __version__

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

registry: Final = CollectorRegistry(auto_describe=True)


class Series:
    """One line of a metric by peer. It may be kept, but not longer than the peer."""

    __slots__ = ("_labels", "_metric")

    def __init__(self, metric: "PerPeer", labels: tuple[str, ...]) -> None:
        self._metric = metric
        self._labels = labels

    def inc(self, amount: float = 1.0) -> None:
        """Count so many more."""
        self._metric.add(self._labels, amount)

    def set(self, value: float) -> None:
        """It stands so now."""
        self._metric.put(self._labels, value)


class PerPeer(Collector):
    """A counter or gauge whose first label is the peer: a number in a dict each. Any thread may feed it."""

    def __init__(
        self, family: type[CounterMetricFamily | GaugeMetricFamily], name: str, text: str, labels: tuple[str, ...]
    ) -> None:
        self.label_names = labels
        self._family = family
        self._name, self._text = f"roamd_{name}", text
        self._values: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()
        registry.register(self)

    def labels(self, *values: str) -> Series:
        """The line with these labels, in the order of their names; it shows from now on."""
        if len(values) != len(self.label_names):
            raise ValueError(f"{self._name} has the labels {self.label_names}.")
        self.add(values, 0.0)
        return Series(self, values)

    def add(self, labels: tuple[str, ...], amount: float) -> None:
        """For `Series`."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0.0) + amount

    def put(self, labels: tuple[str, ...], value: float) -> None:
        """For `Series`, and for who sets a line too seldom to keep one."""
        with self._lock:
            self._values[labels] = value

    def forget(self, peer: str) -> None:
        """Take a peer's lines away."""
        with self._lock:
            for labels in [labels for labels in self._values if labels[0] == peer]:
                del self._values[labels]

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """All lines (prometheus_client asks)."""
        family = self._family(self._name, self._text, labels=self.label_names)
        with self._lock:
            values = list(self._values.items())
        for labels, value in values:
            family.add_metric(labels, value)
        yield family


# From the fastest local answer (0.5 ms) to the longest deadline that the API takes (30 s).
_ANSWER_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# A full sync takes 0.4 ms on a good disk and seconds on one that is dying.
_COMMIT_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_GROUP_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


# --- what is counted on hot paths --------------------------------------------------------------------------------


class Tally:
    """One labelled counter of a hot path, counted on one thread: what a counter's own `inc` takes a lock for."""

    __slots__ = ("counted", "shown")

    def __init__(self) -> None:
        self.counted = 0
        self.shown = 0

    def inc(self) -> None:
        """One more; it shows with the next look at the registry."""
        self.counted += 1


_tallies: Final[dict[tuple[Counter | PerPeer, tuple[str, ...]], Tally]] = {}
_showing: Final = threading.Lock()


def child(metric: Counter | PerPeer, *labels: str) -> Tally:
    """`metric.labels(*labels)` for hot paths: a fifth of its cost, and `forget_peer` is minded.

    A series belongs to one thread.
    """
    kept = _tallies.get((metric, labels))
    if kept is None:
        kept = _tallies[metric, labels] = Tally()
    return kept


def _show_tallies() -> None:
    with _showing:
        for (metric, labels), tally in list(_tallies.items()):
            counted = tally.counted
            metric.labels(*labels).inc(counted - tally.shown)
            tally.shown = counted


class _Shower(Collector):
    """Stands before all others in the registry: brings what was tallied into the counters, and shows nothing itself."""

    def describe(self) -> Iterable[Shown]:
        return ()

    def collect(self) -> Iterable[Shown]:
        _show_tallies()
        return ()


registry.register(_Shower())


_per_peer: Final[list[PerPeer]] = []
"""What `forget_peer` must look through."""


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"roamd_{name}", text, labels, registry=registry)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"roamd_{name}", text, labels, registry=registry)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"roamd_{name}", text, labels, registry=registry, buckets=buckets)


def _peer_counter(name: str, text: str, *labels: str) -> PerPeer:
    _per_peer.append(PerPeer(CounterMetricFamily, name, text, ("peer", *labels)))
    return _per_peer[-1]


def _peer_gauge(name: str, text: str, *labels: str) -> PerPeer:
    _per_peer.append(PerPeer(GaugeMetricFamily, name, text, ("peer", *labels)))
    return _per_peer[-1]


# --- services ---------------------------------------------------------------------------------------------------

authorizations: Final = _counter(
    "authorizations_total",
    "Authorizations that our backend asked for, by decision and its source.",
    "decision",
    "source",
)
authorizations_answered: Final = _peer_counter(
    "authorizations_answered_total",
    "Authorizations that peers asked for and we answered.",
    "decision",
    "source",
)
authorization_seconds: Final = _histogram(
    "authorization_seconds", "From the backend's request to its decision.", _ANSWER_BUCKETS, "source"
)
calls: Final = _peer_counter("calls_total", "Calls to peers, by outcome.", "status")
backend_silences: Final = _counter(
    "backend_silences_total", "Questions to our backend that it did not answer in time or in form."
)
object_refusals: Final = _peer_counter(
    "object_refusals_total", "Objects of peers that were refused, by feed and reason.", "feed", "reason"
)
records: Final = _counter("records_total", "Service records that came into a state.", "state")
price_checks: Final = _counter("price_checks_total", "Received records held against their tariffs.", "verdict")
record_refusals: Final = _peer_counter(
    "record_refusals_total", "Entries that were refused, by who refused.", "direction"
)
objects: Final = _counter("objects_total", "Objects published (out) or mirrored (in), by feed.", "feed", "direction")
replacing_snapshots: Final = _peer_counter(
    "replacing_snapshots_total", "Feeds that had to be sent anew from the beginning.", "feed"
)
ledger_entries: Final = _peer_counter(
    "ledger_entries_total", "Ledger entries sent (out) and committed (in).", "direction"
)
receipts: Final = _peer_counter("receipts_total", "Ledger receipts signed (out) and verified (in).", "direction")
ledger_alarms: Final = _peer_counter("ledger_alarms_total", "Rollbacks and forks that were noticed.", "kind")

# --- links ------------------------------------------------------------------------------------------------------

link_up: Final = _peer_gauge("link_up", "1 while a link to the peer is up.")
links_opened: Final = _peer_counter("links_opened_total", "Links that came up, by who dialled.", "dialled")
links_closed: Final = _peer_counter("links_closed_total", "Links that ended, by reason.", "reason")
handshakes: Final = _counter("handshakes_total", "TLS handshakes on the link port, by outcome.", "outcome")
link_bytes: Final = _peer_counter("link_bytes_total", "Bytes before TLS on links.", "direction")
clock_skew_seconds: Final = _peer_gauge("clock_skew_seconds", "How far the peer's clock is ahead of ours.")
pairings: Final = _counter("pairings_total", "Tries to pair with us, by outcome.", "outcome")
candidates: Final = _gauge("candidates", "Endpoints that are seen at this time, by finder.", "source")
relayed_envelopes: Final = _peer_counter(
    "relayed_envelopes_total", "Envelopes that peers wanted relayed, by outcome.", "outcome"
)
relayed_bytes: Final = _peer_counter("relayed_bytes_total", "Bytes of envelopes that were relayed, by sender.")

# --- the backend's side -----------------------------------------------------------------------------------------

http_requests: Final = _counter("http_requests_total", "Requests to the local API.", "route", "method", "status")
http_request_seconds: Final = _histogram(
    "http_request_seconds", "Time to answer on the local API.", _ANSWER_BUCKETS, "route"
)
streams: Final = _gauge("streams", "Backends that are connected over the WebSocket stream.")
questions: Final = _counter("questions_total", "Questions to the backend, by way and outcome.", "way", "outcome")
question_seconds: Final = _histogram(
    "question_seconds", "From asking the backend to its answer.", _ANSWER_BUCKETS, "way"
)
webhook_posts: Final = _counter("webhook_posts_total", "Posts of events to webhooks, by outcome.", "outcome")
ocpi_removals_held: Final = _gauge(
    "ocpi_removals_held", "Objects that an OCPI backend no longer lists and that wait for a word.", "backend", "module"
)
ocpi_requests: Final = _counter(
    "ocpi_requests_total", "Requests to the OCPI face, by OCPI status.", "backend", "module", "status"
)
ocpi_calls: Final = _counter("ocpi_calls_total", "Calls to OCPI backends, by outcome.", "backend", "outcome")
ocpi_results: Final = _counter(
    "ocpi_results_total", "Tries to tell an OCPI backend what became of its command, by outcome.", "outcome"
)

# --- the daemon itself ------------------------------------------------------------------------------------------

store_commit_seconds: Final = _histogram(
    "store_commit_seconds", "One group commit with its sync to disk.", _COMMIT_BUCKETS
)
store_commit_size: Final = _histogram("store_commit_transactions", "Transactions in one group commit.", _GROUP_BUCKETS)
store_full: Final = _gauge("store_full", "1 while the disk is full and intake is refused.")
queue_records: Final = _peer_gauge("queue_records", "Own records that are not settled, by state.", "state")
reloads: Final = _counter("reloads_total", "Reloads of the configuration, by outcome.", "outcome")
clock_jumps: Final = _counter("clock_jumps_total", "Times that the wall clock jumped by more than 60 s.")
certificate_expiry_seconds: Final = _gauge(
    "certificate_expiry_timestamp_seconds", "When a certificate of this endpoint ends, in seconds since 1970.", "kind"
)
start_time_seconds: Final = _gauge("start_timestamp_seconds", "When this run began, in seconds since 1970.")
_build: Final = Info("roamd_build", "What is running.", registry=registry)


def begin_run() -> None:
    """Note what runs and since when; called once by the daemon."""
    _build.info({"version": __version__})
    start_time_seconds.set(time.time())
    ProcessCollector(registry=registry)


def forget_peer(peer: str) -> None:
    """Take a removed peer's series away."""
    _show_tallies()
    _tallies.clear()
    for metric in _per_peer:
        metric.forget(peer)


def render() -> bytes:
    """The text of `/metrics`."""
    return generate_latest(registry)
