"""The candidates' board: merging, recognising, bounds."""

from dataclasses import dataclass, field

import pytest

from roamd.config.schema import StaticCandidate
from roamd.discovery.board import MAX_ADDRESSES, MAX_PER_ENDPOINT, MAX_UNNAMED, Board
from roamd.discovery.finder import Sighting, Veil
from roamd.discovery.static import StaticFinder

OWN, PARTNER, OTHER = "A" * 56, "B" * 56, "C" * 56
SALT = b"0123456789abcdef"


@dataclass
class HandClock:
    ms: int = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


@dataclass
class Room:
    """A board, its clock, who is paired, and what it called out."""

    known: list[str] = field(default_factory=list)
    clock: HandClock = field(default_factory=HandClock)
    called: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.board = Board(self.clock, OWN, lambda: self.known, lambda who, where: self.called.append((who, where)))

    def see(self, name: str, *addresses: str, who: str | None = None, gone: bool = False) -> None:
        veil = Veil.over(who, SALT) if who else None
        self.board.take(Sighting("mdns", name, addresses, veil=veil, gone=gone))
        self.clock.ms += 1000

    def configure(self, address: str, endpoint_id: str = "") -> None:
        StaticFinder([StaticCandidate(address, endpoint_id)]).report_nowait(self.board.take)
        self.clock.ms += 1000


@pytest.fixture
def room() -> Room:
    return Room(known=[PARTNER])


def test_a_veiled_service_of_a_paired_peer_is_recognised_and_called_out(room: Room) -> None:
    room.see("xyz", "192.0.2.7:63119", who=PARTNER)
    (candidate,) = room.board.candidates()
    assert candidate.endpoint_id == PARTNER
    assert candidate.sources == ("mdns",)
    assert room.called == [(PARTNER, ("192.0.2.7:63119",))]


def test_a_stranger_is_shown_without_a_name_and_not_called_out(room: Room) -> None:
    room.see("xyz", "192.0.2.7:63119", who=OTHER)
    (candidate,) = room.board.candidates()
    assert candidate.endpoint_id is None
    assert candidate.name == "xyz"
    assert room.called == []


def test_a_stranger_is_recognised_once_it_is_paired_and_forgotten_as_a_name_when_removed(room: Room) -> None:
    room.see("xyz", "192.0.2.7:63119", who=OTHER)
    room.known.append(OTHER)
    room.board.peers_changed()
    assert room.called == [(OTHER, ("192.0.2.7:63119",))]
    room.known.remove(OTHER)
    room.board.peers_changed()
    assert room.board.candidates()[0].endpoint_id is None
    assert room.board.addresses_of(OTHER) == ()


def test_all_sources_of_one_endpoint_make_one_candidate_with_the_operators_address_first(room: Room) -> None:
    room.see("xyz", "192.0.2.7:63119", "203.0.113.5:63119", who=PARTNER)
    room.configure("203.0.113.5:63119", PARTNER)
    (candidate,) = room.board.candidates()
    assert candidate.sources == ("config", "mdns")
    assert candidate.addresses == ("203.0.113.5:63119", "192.0.2.7:63119")
    assert candidate.last_seen_ms - candidate.first_seen_ms == 1000


def test_the_same_sighting_again_moves_last_seen_and_is_not_called_out_again(room: Room) -> None:
    room.see("xyz", "192.0.2.7:1", who=PARTNER)
    room.see("xyz", "192.0.2.7:1", who=PARTNER)
    (candidate,) = room.board.candidates()
    assert candidate.last_seen_ms - candidate.first_seen_ms == 1000
    assert len(room.called) == 1


def test_a_new_address_replaces_the_old_one_of_the_same_service_and_is_called_out(room: Room) -> None:
    room.see("xyz", "192.0.2.7:1", who=PARTNER)
    room.see("xyz", "192.0.2.8:1", who=PARTNER)
    assert room.called[-1] == (PARTNER, ("192.0.2.8:1",))


def test_a_service_that_says_goodbye_is_gone_and_what_is_configured_stays(room: Room) -> None:
    room.configure("203.0.113.5:63119", PARTNER)
    room.see("xyz", "192.0.2.7:1", who=PARTNER)
    room.see("xyz", gone=True)
    assert room.board.addresses_of(PARTNER) == ("203.0.113.5:63119",)


def test_our_own_service_is_not_a_candidate(room: Room) -> None:
    room.see("xyz", "192.0.2.7:1", who=OWN)
    assert room.board.candidates() == []


def test_a_copied_tag_adds_its_address_last_and_takes_none_away(room: Room) -> None:
    room.see("real", "192.0.2.7:1", who=PARTNER)
    for n in range(3 * MAX_PER_ENDPOINT):
        room.see(f"copy{n}", f"198.51.100.{n}:1", who=PARTNER)
    addresses = room.board.addresses_of(PARTNER)
    assert addresses[0] == "192.0.2.7:1"
    assert len(addresses) == MAX_PER_ENDPOINT


def test_made_up_services_are_bounded_and_push_out_neither_peers_nor_what_is_configured(room: Room) -> None:
    room.configure("203.0.113.5:63119")
    room.see("real", "192.0.2.7:1", who=PARTNER)
    for n in range(MAX_UNNAMED + 50):
        room.see(f"made-up-{n}", "198.51.100.1:1", who=OTHER)
    names = [candidate.name for candidate in room.board.candidates()]
    assert len(names) == MAX_UNNAMED + 2
    assert {"203.0.113.5:63119", "real", f"made-up-{MAX_UNNAMED + 49}"} <= set(names)
    assert "made-up-0" not in names


def test_all_that_the_operator_wrote_is_kept_however_much_it_is(room: Room) -> None:
    for n in range(3 * MAX_PER_ENDPOINT):
        room.configure(f"203.0.113.{n}:63119", PARTNER)
    assert len(room.board.addresses_of(PARTNER)) == 3 * MAX_PER_ENDPOINT


def test_a_sighting_with_a_hundred_addresses_is_cut(room: Room) -> None:
    room.see("xyz", *(f"192.0.2.{n}:1" for n in range(100)), who=PARTNER)
    assert len(room.board.addresses_of(PARTNER)) == MAX_ADDRESSES


def test_forgetting_a_source_leaves_the_others(room: Room) -> None:
    room.configure("203.0.113.5:63119")
    room.see("xyz", "192.0.2.7:1")
    room.board.forget("mdns")
    assert [candidate.sources for candidate in room.board.candidates()] == [("config",)]


def test_the_api_sees_plain_values_with_times_as_text(room: Room) -> None:
    room.see("xyz", "192.0.2.7:1")
    (candidate,) = room.board.candidates()
    assert candidate.as_dict() == {
        "name": "xyz",
        "sources": ["mdns"],
        "addresses": ["192.0.2.7:1"],
        "endpoint_id": None,
        "parties": [],
        "vouched_by": [],
        "first_seen": "2027-01-15T08:00:00.000Z",
        "last_seen": "2027-01-15T08:00:00.000Z",
    }


def test_what_an_endpoint_has_signed_is_tried_before_what_networks_say_and_after_what_the_operator_wrote(
    room: Room,
) -> None:
    room.see("seen", "mdns.example:1", who=PARTNER)
    room.board.take(Sighting("dns", "zone", ("dns.example:1",), PARTNER))
    room.board.take(
        Sighting(
            "introduction", PARTNER, ("signed.example:1",), PARTNER, title="XYZ", parties=("FRXYZ",), vouched_by=("v",)
        )
    )
    room.configure("written.example:1", PARTNER)
    (candidate,) = room.board.candidates()
    assert candidate.addresses == ("written.example:1", "signed.example:1", "dns.example:1", "mdns.example:1")
    assert (candidate.parties, candidate.vouched_by) == (("FRXYZ",), ("v",))


def test_an_introduced_stranger_is_called_by_its_name(room: Room) -> None:
    room.board.take(Sighting("introduction", OTHER, ("o.example:1",), OTHER, title="XYZ Mobility"))
    assert [candidate.name for candidate in room.board.candidates()] == ["XYZ Mobility"]
    room.board.take(Sighting("introduction", OTHER, (), gone=True))
    assert room.board.candidates() == []
