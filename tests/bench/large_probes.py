"""Stores that have become large: millions of records of 300 bytes at both ends, and what a new one costs there."""

from functools import partial

from roamd.storage.records import DELIVERED
from tests.bench import many, record_probes
from tests.bench.daemon_probes import start_s, status_s
from tests.bench.load import Measured
from tests.bench.probes import probe
from tests.bench.stage import Companies, Stage

MILLION = 1_000_000


@probe("store-large-1m", once=True, on_demand=True)
def a_million(stage: Stage) -> Measured:
    """One million at each end."""
    return _large(stage, MILLION)


@probe("store-large-5m", once=True, on_demand=True)
def five_million(stage: Stage) -> Measured:
    """Five million at each end."""
    return _large(stage, 5 * MILLION)


def _large(stage: Stage, count: int) -> Measured:
    """CDRs of 3 KB between two daemons whose stores were filled before; then the CSO is started again."""
    room = stage.room / f"large-{count}"
    room.mkdir()
    fill = partial(many.fill, count=count, body=many.text_of_300_bytes, state=DELIVERED, party="DEAWY")
    companies = Companies(room, stage.stack, fill)
    record_probes.relayed(companies, 0.3, record_probes.hand_in_by_stream)
    found = record_probes.relayed(companies, stage.seconds, record_probes.hand_in_by_stream)
    daemon = companies.cso.daemon
    daemon.stop()
    return found | {"start_s": start_s(daemon), "status_s": status_s(daemon)}
