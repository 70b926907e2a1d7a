"""What stands at a moment is what `/metrics` says of it."""

from roamd import metrics
from roamd.clock import SystemClock
from roamd.daemon.gauges import Gauges
from roamd.discovery.board import Board
from roamd.discovery.finder import Sighting
from tests.model import bodies
from tests.support.roaming import Company


def value(line: str) -> float:
    page = metrics.render().decode()
    return float(next(shown for shown in page.splitlines() if shown.startswith(line)).rpartition(" ")[2])


def test_queued_records_candidates_and_a_full_disk_are_shown(cso: Company, csp: Company) -> None:
    board = Board(SystemClock(), cso.identity.endpoint_id, list)
    board.take(Sighting("config", "somewhere", ("somewhere.example:63119",)))
    for number in (1, 2):
        cso.hand_in(bodies.cdr(id=f"C-{number}"))
    gauges = Gauges(cso.store, cso.directory, board)
    gauges.read()
    assert value('roamd_queue_records{peer="rmd",state="QUEUED"}') == 2
    assert value('roamd_queue_records{peer="rmd",state="PARKED"}') == 0
    assert value('roamd_candidates{source="config"}') == 1
    assert value('roamd_candidates{source="mdns"}') == 0
    assert value("roamd_store_full") == 0
