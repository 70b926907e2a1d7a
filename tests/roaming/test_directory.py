"""Who is who, who owns what, and to whom an object is shown."""

import pytest

from roamd.errors import NotFound
from roamd.model.objects import check_object
from roamd.roaming.audience import EVERYONE, audience_of, is_shown
from roamd.roaming.cursors import CursorSeal, Place
from roamd.roaming.directory import ALARMS_KEPT, PENDING, SUSPENDED, Peer, provider_of
from tests.model import bodies
from tests.support.roaming import Company


def label_of(peers: tuple[Peer, ...]) -> list[str]:
    return [peer.label for peer in peers]


def test_a_peer_is_found_by_label_and_endpoint_until_it_is_removed(cso: Company, csp: Company) -> None:
    peer = cso.peer("rmd")
    assert cso.directory.find("rmd") is cso.directory.by_endpoint(csp.identity.endpoint_id) is peer
    assert [one.label for one in cso.directory] == ["rmd"]
    cso.directory.remove("rmd")
    assert len(cso.directory) == 0
    assert cso.directory.find("rmd") is cso.directory.by_endpoint(csp.identity.endpoint_id) is None
    assert cso.directory.contract_owners("FRRMD") == ()
    with pytest.raises(NotFound, match="roamd peers"):
        cso.directory.get("rmd")


def test_a_replaced_row_keeps_the_peer_and_its_exchange(cso: Company, csp: Company) -> None:
    peer = cso.peer("rmd")
    peer.exchange = object()  # type: ignore[assignment]  # it is only kept
    again = cso.directory.put(peer.row._replace(name="Renamed"))
    assert again is peer
    assert (peer.row.name, peer.exchange is not None) == ("Renamed", True)


def test_the_owner_of_a_contract_is_found_by_its_prefix_in_every_spelling(cso: Company, csp: Company) -> None:
    for spelled in ("FR-RMD-C00000042-X", "FRRMDC00000042", "fr*rmd*c00000042"):
        assert provider_of(spelled) == "FRRMD"
        assert label_of(cso.directory.home_of(spelled, None)) == ["rmd"]
    assert cso.directory.home_of("NL-TNM-C00000042-X", None) == ()
    assert cso.directory.home_of(None, None) == cso.directory.home_of("", "") == ()


def test_the_party_counts_only_where_the_contract_names_no_owner(cso: Company, csp: Company) -> None:
    other = Company(3, "NLTNM", "csp")
    cso.meets(other, "tnm")
    assert label_of(cso.directory.home_of("FR-RMD-C00000042-X", "NLTNM")) == ["rmd"]
    assert label_of(cso.directory.home_of("BE-BEC-C00000042-X", "NLTNM")) == ["tnm"]


def test_whom_nobody_has_confirmed_owns_nothing_and_a_suspended_peer_still_does(cso: Company, csp: Company) -> None:
    stranger = Company(3, "FRRMD", "csp")
    cso.meets(stranger, "stranger", state=PENDING)
    assert label_of(cso.directory.contract_owners("FRRMD")) == ["rmd"]
    cso.meets(stranger, "stranger", state=SUSPENDED)
    assert label_of(cso.directory.contract_owners("FRRMD")) == ["rmd", "stranger"]
    assert not cso.peer("stranger").active


def test_labels_are_made_of_names_and_never_taken_twice(cso: Company, csp: Company) -> None:
    assert cso.directory.label_for("ABC Charging GmbH") == "abc-charging-gmbh"
    assert cso.directory.label_for("Ærø Ladning!") == "r--ladning"
    assert cso.directory.label_for("日本") == "peer"
    assert cso.directory.label_for("x" * 90) == "x" * 32
    assert cso.directory.label_for("RMD") == "rmd-2"
    assert cso.directory.label_for("RMD", {"rmd-2", "rmd-3"}.__contains__) == "rmd-4"


def test_alarms_are_told_once_and_only_the_newest_are_kept(cso: Company, csp: Company) -> None:
    peer = cso.peer("rmd")
    for number in range(100):
        peer.alarm(f"alarm {number}")
        peer.alarm("the same")
    assert len(peer.alarms) == ALARMS_KEPT
    assert peer.alarms[-2:] == ["alarm 99", "the same"]


# --- audience ---------------------------------------------------------------------------------------------------


def session_audience(**token: str) -> str:
    text = bodies.text(bodies.session(cdr_token=bodies.cdr_token(**token)))
    return audience_of(check_object("sessions", "2.3.0", text, own_parties=frozenset({"DEABC"})))


def test_a_location_is_for_everyone_and_a_session_for_its_home_alone(cso: Company, csp: Company) -> None:
    location = check_object("locations", "2.3.0", bodies.text(bodies.location()), own_parties=frozenset({"DEABC"}))
    assert audience_of(location) == EVERYONE
    assert session_audience() == "FRRMD"
    assert session_audience(contract_id="BE-BEC-C00000042-X") == "BEBEC FRRMD"


def test_the_first_name_that_anyone_owns_decides(cso: Company, csp: Company) -> None:
    other = Company(3, "BEBEC", "csp")
    rmd = cso.peer("rmd")
    assert is_shown(EVERYONE, rmd, cso.directory)
    assert is_shown("BEBEC FRRMD", rmd, cso.directory)
    bec = cso.meets(other, "bec")
    assert not is_shown("BEBEC FRRMD", rmd, cso.directory)
    assert is_shown("BEBEC FRRMD", bec, cso.directory)
    assert not is_shown("NLTNM", rmd, cso.directory)
    assert not is_shown("", rmd, cso.directory)


# --- cursors ----------------------------------------------------------------------------------------------------


def test_a_cursor_opens_for_its_peer_feed_and_store_alone() -> None:
    place = Place(b"r" * 16, 17, 2, 40)
    seal = CursorSeal(b"s" * 32)
    cursor = seal.seal("rmd", "locations", place)
    assert seal.open("rmd", "locations", cursor) == place
    assert seal.seal("rmd", "locations", place) == cursor
    assert len(cursor) <= 64
    assert seal.open("tnm", "locations", cursor) is None
    assert seal.open("rmd", "tariffs", cursor) is None
    assert CursorSeal(b"t" * 32).open("rmd", "locations", cursor) is None
    for broken in (b"", b"x", cursor[:-1], cursor + b"x", bytes(56)):
        assert seal.open("rmd", "locations", broken) is None


def test_a_cursor_shows_nothing_of_the_version_in_it() -> None:
    seal = CursorSeal(b"s" * 32)
    ones = [seal.seal("rmd", "locations", Place(b"r" * 16, version, 1, 0)) for version in range(50)]
    assert len({one[:16] for one in ones}) == 50
    assert len({len(one) for one in ones}) == 1
