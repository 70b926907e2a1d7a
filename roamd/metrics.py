"""Every metric that `/metrics` shows, in one registry: names with base units, and no personal value as a label.

Labels are bounded: `peer` by the number of paired peers, all others by tables in the code. Rooms import the metric that
they feed and call `.labels(...).inc()`; on a hot path `child(metric, ...).inc()`, because `labels` looks it up slowly.
"""

import threading
import time
from collections.abc import Iterable
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client import Metric as Shown
from prometheus_client.registry import Collector

from roamd import __version__

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Metric = TypeVar("Metric", Counter, Gauge, Histogram)

registry: Final = CollectorRegistry(auto_describe=True)

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


_tallies: Final[dict[tuple[Counter, tuple[str, ...]], Tally]] = {}
_showing: Final = threading.Lock()


def child(metric: Counter, *labels: str) -> Tally:
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


_per_peer: Final[list[Counter | Gauge | Histogram]] = []
"""What `forget_peer` must look through."""


def _kept(metric: Metric, labels: tuple[str, ...]) -> Metric:
    if "peer" in labels:
        _per_peer.append(metric)
    return metric


def _counter(name: str, text: str, *labels: str) -> Counter:
    return _kept(Counter(f"roamd_{name}", text, labels, registry=registry), labels)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return _kept(Gauge(f"roamd_{name}", text, labels, registry=registry), labels)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return _kept(Histogram(f"roamd_{name}", text, labels, registry=registry, buckets=buckets), labels)


# --- services ---------------------------------------------------------------------------------------------------

authorizations: Final = _counter(
    "authorizations_total",
    "Authorizations that our backend asked for, by decision and its source.",
    "decision",
    "source",
)
authorizations_answered: Final = _counter(
    "authorizations_answered_total",
    "Authorizations that peers asked for and we answered.",
    "peer",
    "decision",
    "source",
)
authorization_seconds: Final = _histogram(
    "authorization_seconds", "From the backend's request to its decision.", _ANSWER_BUCKETS, "source"
)
calls: Final = _counter("calls_total", "Calls to peers, by outcome.", "peer", "status")
call_duration_seconds: Final = _histogram(
    "call_duration_seconds", "From sending a call to a peer to its answer.", _ANSWER_BUCKETS, "peer"
)
backend_silences: Final = _counter(
    "backend_silences_total", "Questions to our backend that it did not answer in time or in form."
)
object_refusals: Final = _counter(
    "object_refusals_total", "Objects of peers that were refused, by feed and reason.", "peer", "feed", "reason"
)
records: Final = _counter("records_total", "Service records that came into a state.", "state")
price_checks: Final = _counter("price_checks_total", "Received records held against their tariffs.", "verdict")
record_refusals: Final = _counter(
    "record_refusals_total", "Entries that were refused, by who refused.", "peer", "direction"
)
objects: Final = _counter("objects_total", "Objects published (out) or mirrored (in), by feed.", "feed", "direction")
replacing_snapshots: Final = _counter(
    "replacing_snapshots_total", "Feeds that had to be sent anew from the beginning.", "peer", "feed"
)
ledger_entries: Final = _counter(
    "ledger_entries_total", "Ledger entries sent (out) and committed (in).", "peer", "direction"
)
receipts: Final = _counter("receipts_total", "Ledger receipts signed (out) and verified (in).", "peer", "direction")
ledger_alarms: Final = _counter("ledger_alarms_total", "Rollbacks and forks that were noticed.", "peer", "kind")

# --- links ------------------------------------------------------------------------------------------------------

link_up: Final = _gauge("link_up", "1 while a link to the peer is up.", "peer")
links_opened: Final = _counter("links_opened_total", "Links that came up, by who dialled.", "peer", "dialled")
links_closed: Final = _counter("links_closed_total", "Links that ended, by reason.", "peer", "reason")
handshakes: Final = _counter("handshakes_total", "TLS handshakes on the link port, by outcome.", "outcome")
link_bytes: Final = _counter("link_bytes_total", "Bytes before TLS on links.", "peer", "direction")
clock_skew_seconds: Final = _gauge("clock_skew_seconds", "How far the peer's clock is ahead of ours.", "peer")
pairings: Final = _counter("pairings_total", "Tries to pair, by outcome.", "outcome")
candidates: Final = _gauge("candidates", "Endpoints that are seen at this time, by finder.", "source")
relayed_envelopes: Final = _counter(
    "relayed_envelopes_total", "Envelopes that peers wanted relayed, by outcome.", "peer", "outcome"
)
relayed_bytes: Final = _counter("relayed_bytes_total", "Bytes of envelopes that were relayed, by sender.", "peer")

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
events: Final = _counter("events_total", "Events written for the backend.", "type")
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
queue_records: Final = _gauge("queue_records", "Records that are not settled yet.", "peer", "state")
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
        metric.remove_by_labels({"peer": peer})


def render() -> bytes:
    """The text of `/metrics`."""
    return generate_latest(registry)
