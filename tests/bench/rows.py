"""The table: one row a figure, with what it should be and what it stands beside.

`target` is from the project's own list (2 cores, both daemons). A yardstick is another probe's figure of the same run.
`ratio` is how many times better the figure is than its yardstick: above 1 is better, whichever way the figure counts.
"""

from dataclasses import dataclass

PER_S, CPU, P50, P99 = "per_s", "cpu_s_per_1000", "p50_ms", "p99_ms"
UNITS = {PER_S: "/s", CPU: "CPU s/1,000", P50: "ms", P99: "ms"}
MORE_IS_BETTER = frozenset({PER_S, "/s"})


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `least` or `most` is the target; `times` a target for the ratio."""

    name: str
    probe: str
    figure: str
    unit: str
    least: float | None = None
    most: float | None = None
    beside: tuple[str, str] | None = None
    times: float | None = None

    @property
    def more_is_better(self) -> bool:
        """Which way the figure counts."""
        return self.figure in MORE_IS_BETTER or self.unit in MORE_IS_BETTER

    def ratio(self, value: float, yardstick: float) -> float | None:
        """How many times better than the yardstick."""
        above, below = (value, yardstick) if self.more_is_better else (yardstick, value)
        return above / below if below else None

    @property
    def target(self) -> str:
        """In words."""
        parts = [f">= {self.least:g}"] if self.least is not None else []
        parts += [f"<= {self.most:g}"] if self.most is not None else []
        parts += [f">= {self.times:.2g} times"] if self.times is not None else []
        return ", ".join(parts)

    def met(self, value: float, ratio: float | None) -> bool | None:
        """Whether the target is reached; None where there is none or its yardstick was not measured."""
        if self.times is not None and ratio is None:
            return None
        checks = [
            *([value >= self.least] if self.least is not None else []),
            *([value <= self.most] if self.most is not None else []),
            *([ratio >= self.times] if self.times is not None and ratio is not None else []),
        ]
        return all(checks) if checks else None


def _row(
    name: str,
    probe: str,
    figure: str,
    *,
    unit: str = "",
    least: float | None = None,
    most: float | None = None,
    beside: str | None = None,
    beside_figure: str | None = None,
    times: float | None = None,
) -> Row:
    yardstick = (beside, beside_figure or figure) if beside else None
    return Row(name, probe, figure, unit or UNITS[figure], least, most, yardstick, times)


ROWS: tuple[Row, ...] = (
    # --- authorization
    _row("authorize, POST each, 1 in flight: p50", "authorize-http-1", P50, most=0.9, beside="ocpi-authorize-1"),
    _row("authorize, POST each, 1 in flight: p99", "authorize-http-1", P99, most=2.0, beside="ocpi-authorize-1"),
    _row("authorize, POST each, 16 in flight", "authorize-http-16", PER_S, beside="ocpi-authorize-16"),
    _row("authorize, POST each, 64 in flight", "authorize-http-64", PER_S, least=5000, beside="ocpi-authorize-64"),
    _row("authorize, POST each, 64 in flight: cost", "authorize-http-64", CPU, most=0.23, beside="ocpi-authorize-64"),
    _row("authorize, POST each, 256 in flight", "authorize-http-256", PER_S, beside="ocpi-authorize-256"),
    _row("authorize, batches of 64", "authorize-batch", PER_S, least=20000, beside="ocpi-authorize-64"),
    _row("authorize, batches of 64: cost", "authorize-batch", CPU, most=0.045, beside="ocpi-authorize-64"),
    _row("authorize, stream, 1 in flight: p50", "authorize-stream-1", P50, most=0.75, beside="ocpi-authorize-1"),
    _row("authorize, stream, 64 in flight", "authorize-stream-64", PER_S, beside="ocpi-authorize-64"),
    _row("authorize, stream, 256 in flight", "authorize-stream-256", PER_S, least=20000, beside="ocpi-authorize-256"),
    _row("authorize, stream, 256 in flight: cost", "authorize-stream-256", CPU, most=0.045, beside="bare-calls-64"),
    _row("authorize, stream, at half the capacity: p99", "authorize-stream-at-50%", P99),
    _row("authorize, stream, at 80 % of the capacity: p99", "authorize-stream-at-80%", P99),
    _row(
        "authorize, real backends by HTTP, 64", "authorize-real-http-64", PER_S, beside="ocpi-authorize-64", times=0.5
    ),
    _row(
        "authorize, real backends by stream, 256",
        "authorize-real-stream-256",
        PER_S,
        beside="ocpi-authorize-256",
        times=5,
    ),
    _row(
        "authorize, real backends by stream, 256: cost", "authorize-real-stream-256", CPU, beside="ocpi-authorize-256"
    ),
    _row("authorize, real backends by stream, at half: p50", "authorize-real-stream-at-50%", P50),
    _row("authorize, real backends by stream, at half: p99", "authorize-real-stream-at-50%", P99),
    _row("authorize, real backends by stream, at 80 %: p99", "authorize-real-stream-at-80%", P99),
    _row(
        "authorize, OCPI backends, 64: cost",
        "authorize-face-64",
        CPU,
        most=0.7,
        beside="authorize-real-http-64",
        times=0.67,
    ),
    _row("authorize, whitelist, stream: p50", "authorize-whitelist-stream", P50, beside="echo-1"),
    _row("authorize, whitelist, stream: p99", "authorize-whitelist-stream", P99, most=1.0, beside="echo-1"),
    # --- records
    _row("CDR, POST each, 64 in flight", "cdr-http-64", PER_S, beside="ocpi-cdr-durable-64"),
    _row("CDR, batches of 64", "cdr-batch", PER_S, least=5000, beside="ocpi-cdr-durable-64", times=5),
    _row("CDR, batches of 64: cost", "cdr-batch", CPU, most=0.2, beside="ocpi-cdr-durable-64"),
    _row("CDR, stream, 256 in flight", "cdr-stream-256", PER_S, least=5000, beside="ocpi-cdr-durable-64", times=5),
    _row("CDR, stream, 256 in flight: cost", "cdr-stream-256", CPU, most=0.2, beside="ocpi-cdr-durable-64"),
    _row("CDR, the same beside OCPI without a commit", "cdr-stream-256", PER_S, beside="ocpi-cdr-64"),
    _row("CDR, stream, at half the capacity: p99 to the commit", "cdr-stream-at-50%", P99),
    _row("CDR, stream, at 80 % of the capacity: p99 to the commit", "cdr-stream-at-80%", P99),
    _row("CDR alone, to the stored receipt: p50", "cdr-alone", P50, most=3.5, beside="ocpi-cdr-durable-1"),
    _row("CDR, signatures of a batch of 64: cost each", "receipts", "us_per_record", unit="us", most=7),
    # --- both at once
    _row("authorize beside a backlog of CDRs: p50", "authorize-beside-records", P50, most=4),
    _row("authorize beside a backlog of CDRs: p99", "authorize-beside-records", P99),
    _row("authorize beside a feed to a new peer: p50", "authorize-beside-feed", P50, most=4),
    _row("call beside bulk on the bare link: p50", "link-beside-bulk", P50, most=4),
    _row("call beside bulk on the bare link: p99", "link-beside-bulk", P99, most=12),
    _row("bulk meanwhile", "link-beside-bulk", "records_per_s", unit="/s", least=12000),
    # --- one link
    _row("link, messages one way", "link-messages", PER_S, least=150_000, beside="bare-messages"),
    _row("link, calls, 64 in flight: cost", "link-calls-64", CPU, most=0.035, beside="bare-calls-64"),
    _row("link, calls, one by one: cost", "link-calls-1", CPU, beside="bare-calls-1"),
    _row("link, ready-made records", "link-records", PER_S, least=35_000, beside="bare-records"),
    # --- feeds
    _row("feed to a new peer: publisher's CPU for 10,000 locations", "feed", "publisher_cpu_s", unit="s", most=4),
    _row("feed to a new peer: follower's CPU for 10,000 locations", "feed", "follower_cpu_s", unit="s", most=4),
    _row("feed to a new peer: bytes a location", "feed", "bytes_per_location", unit="bytes", most=750),
    _row("feed to a new peer: locations", "feed", PER_S),
    # --- one route hangs: the deadline is 3,000 ms, the patience 1,000 ms
    _row("authorize, two CSPs asked, both answer: p99", "routes", P99, most=30),
    _row("authorize, the CSP that does not know the card hangs: p99", "routes-other-hangs", P99, most=30),
    _row("authorize, the home hangs, its list decides: p50", "routes-home-hangs-listed", P50),
    _row("authorize, the home hangs, its list decides: p99", "routes-home-hangs-listed", P99, most=1100),
    _row("authorize, the home hangs, its grant decides: p99", "routes-home-hangs-granted", P99, most=1100),
    _row("authorize, the link is cut, a grant decides: p50", "routes-cut-granted", P50),
    _row("authorize, the link is cut, a grant decides: p99", "routes-cut-granted", P99, most=30),
    # --- whose card is it: 100 CSPs, 1,000,000 cards of 7 bytes
    _row("whose card: CSPs asked about a card of one of 100", "whose-card", "asked", unit="CSPs", most=1.5),
    _row("whose card: CSPs asked about a card of nobody", "whose-card", "asked_about_strangers", unit="CSPs", most=0.5),
    _row("whose card: wrong matches", "whose-card", "false_percent", unit="%", most=0.45),
    _row("whose card: look-up in 100 filters", "whose-card", "look_up_ms", unit="ms", most=1),
    _row("whose card: memory a card", "whose-card", "bytes_per_card", unit="bytes", most=1.5),
    _row("whose card: to load them at the start", "whose-card", "load_s", unit="s"),
    _row("card filter of 1,000,000: digests, once", "card-filter", "once_s", unit="s"),
    _row("card filter of 1,000,000: for each peer", "card-filter", "each_s", unit="s", most=1.5),
    _row("card filter of 1,000,000: longest step", "card-filter", "segment_ms", unit="ms"),
    _row("card filter of 1,000,000: bytes a card", "card-filter", "bytes_per_card", unit="bytes", most=1.3),
    _row("status change to 100 peers: bytes a peer", "status-change", "bytes_per_peer", unit="bytes", most=200),
    _row("status change to 100 peers: publisher's CPU a peer", "status-change", "us_per_peer", unit="us", most=150),
    # --- bytes on the wire before TLS
    _row("wire: authorization request", "wire", "request_bytes", unit="bytes", most=160),
    _row("wire: authorization answer", "wire", "answer_bytes", unit="bytes", most=110),
    _row("wire: a CDR alone", "wire", "record_alone_bytes", unit="bytes", most=1700),
    _row("wire: a CDR in bulk", "wire", "record_bulk_bytes", unit="bytes", most=1000),
    # --- the daemon at rest
    _row("handshake: both sides' CPU", "handshakes", "cpu_ms", unit="ms"),
    _row("1,000 idle peers: memory a peer and end", "idle-peers-1000", "kib_per_peer", unit="KiB", most=56),
    _row("1,000 idle peers: heartbeats, of a core", "idle-peers-1000", "heartbeats_percent", unit="%", most=0.5),
    _row("1,000 idle peers: all back after a restart", "idle-peers-1000", "back_s", unit="s", most=20),
    _row("5,000 idle peers: memory a peer and end", "idle-peers-5000", "kib_per_peer", unit="KiB", most=56),
    _row("5,000 idle peers: heartbeats, of a core", "idle-peers-5000", "heartbeats_percent", unit="%"),
    _row("5,000 idle peers: all back after a restart", "idle-peers-5000", "back_s", unit="s"),
    _row("start to READY, small store", "start", "small_s", unit="s", most=1.5),
    _row("start to READY, 250,000 records, 500 peers", "store-250k", "start_s", unit="s", most=1.5),
    _row("store of 250,000 records: record", "store-250k", PER_S),
    _row("store of 250,000 records: status", "store-250k", "status_s", unit="s", most=0.3),
    *[
        row
        for probe, size in (("store-large-1m", "1 million"), ("store-large-5m", "5 million"))
        for row in (
            _row(f"CDR, stream, stores of {size}", probe, PER_S, beside="cdr-stream-256", times=1 / 1.5),
            _row(f"CDR, stream, stores of {size}: cost", probe, CPU, beside="cdr-stream-256", times=1 / 1.5),
            _row(f"start to READY, {size} records", probe, "start_s", unit="s"),
            _row(f"`roamd status`, {size} records", probe, "status_s", unit="s", most=0.3),
        )
    ],
    _row("`roamd status`", "status", "status_s", unit="s", most=0.3),
    _row("log line", "log", "line_us", unit="us", most=8),
    _row("log line that is filtered", "log", "filtered_us", unit="us", most=0.5),
)
