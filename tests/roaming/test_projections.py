"""Feeds that are shown to each peer in its own way, made when they are sent."""

from roamd.model.keys import ObjectKey
from roamd.protocol.bulk import FeedItem
from roamd.roaming.directory import Peer
from roamd.roaming.projections import NOT_READY, Projected
from roamd.storage.feeds import PublishedRow
from tests.model import bodies
from tests.support.roaming import Company, FeedLine


def renamed(row: PublishedRow, peer: Peer) -> Projected:
    """The same object under a key and an id of the peer's own."""
    mine = f"{row.key.id}-{peer.label}".upper()
    body = None if row.body is None else row.body.replace(row.key.id.encode(), mine.encode())
    return FeedItem(row.key.party, mine, "", row.ocpi, body)


def ids(company: Company) -> set[str]:
    return {key.id for key in company.mirrored("abc", "tariffs")}


def line_with(cso: Company, csp: Company, project: object) -> FeedLine:
    line = FeedLine(cso, csp)
    line.publisher.projections = {"tariffs": project}  # type: ignore[dict-item]  # one of the functions here
    return line


def test_a_peer_gets_its_own_form_and_its_own_tombstone(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", bodies.tariff(id="T1"))
    line = line_with(cso, csp, renamed)
    line.pump()
    assert ids(csp) == {"T1-RMD"}
    cso.withdraw("tariffs", ObjectKey("DEABC", "T1"))
    line.wake_all()
    line.pump()
    assert ids(csp) == set()


def test_what_is_none_of_the_peers_is_passed_over(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", bodies.tariff(id="T1"))
    cso.publish("tariffs", bodies.tariff(id="T2"))
    line = line_with(cso, csp, lambda row, peer: None if row.key.id == "T1" else renamed(row, peer))
    line.pump()
    assert ids(csp) == {"T2-RMD"}
    assert line.publisher.in_sync()["tariffs"]


def test_what_is_not_ready_is_waited_for_and_nothing_overtakes_it(cso: Company, csp: Company) -> None:
    for name in ("T1", "T2", "T3"):
        cso.publish("tariffs", bodies.tariff(id=name))
    cso.publish("locations", bodies.location(id="L1"))
    ready = {"T1"}
    asked: list[str] = []

    def slow(row: PublishedRow, peer: Peer) -> Projected:
        asked.append(row.key.id)
        return renamed(row, peer) if row.key.id in ready else NOT_READY

    line = line_with(cso, csp, slow)
    line.pump()
    assert ids(csp) == {"T1-RMD"}
    assert len(csp.mirrored("abc", "locations")) == 1, "other feeds go on"
    assert not line.publisher.in_sync()["tariffs"]
    ready |= {"T2", "T3"}
    asked.clear()
    line.pump()
    assert asked == [], "it is asked again only when it is woken"
    line.publisher.wake("tariffs")
    line.pump()
    assert ids(csp) == {"T1-RMD", "T2-RMD", "T3-RMD"}
    assert line.publisher.in_sync()["tariffs"]


def test_a_snapshot_that_waits_ends_only_when_all_of_it_was_sent(cso: Company, csp: Company) -> None:
    for name in ("T1", "T2"):
        cso.publish("tariffs", bodies.tariff(id=name))
    line_with(cso, csp, renamed).pump()
    assert ids(csp) == {"T1-RMD", "T2-RMD"}
    peer = cso.peer("rmd")
    peer.row = peer.row._replace(rights_version=2)
    ready: set[str] = set()
    line = line_with(cso, csp, lambda row, peer: renamed(row, peer) if row.key.id in ready else NOT_READY)
    line.pump()
    assert ids(csp) == {"T1-RMD", "T2-RMD"}, "nothing is taken away for a snapshot that is not complete"
    ready |= {"T1", "T2"}
    line.publisher.wake("tariffs")
    line.pump()
    assert ids(csp) == {"T1-RMD", "T2-RMD"}


def test_when_the_rules_change_a_higher_rights_version_replaces_what_was_sent(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", bodies.tariff(id="T1"))
    line = line_with(cso, csp, renamed)
    line.pump()
    peer = cso.peer("rmd")
    line.publisher.projections = {}
    line.wake_all()
    line.pump()
    assert ids(csp) == {"T1-RMD"}, "nobody was told that the rules are others now"
    peer.row = peer.row._replace(rights_version=2)
    line.wake_all()
    line.pump()
    assert ids(csp) == {"T1"}
