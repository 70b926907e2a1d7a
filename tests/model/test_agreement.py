"""Rights: what a new pair may do, and that nothing else is allowed."""

import msgspec
import pytest

from roamd.model import agreement as rights
from roamd.model.agreement import Agreement, preset
from roamd.model.roles import FEED_BY_NUMBER, FEEDS, RECORD_KINDS, SERVICES
from roamd.protocol.calls import Service

CSO_FEEDS = {row.name for row in FEEDS.values() if row.publisher_role == "cso"}
CSP_FEEDS = {row.name for row in FEEDS.values() if row.publisher_role == "csp"}


def test_a_cso_publishes_and_asks_and_a_csp_answers() -> None:
    pair = preset(["cso"], ["csp"], ["NL-XYZ"])
    assert {feed for feed in FEEDS if rights.may_publish(pair, feed)} == CSO_FEEDS
    assert {feed for feed in FEEDS if rights.may_follow(pair, feed)} == CSP_FEEDS
    assert rights.may_ask(pair, "authorization")
    assert not rights.may_be_asked(pair, "authorization")
    assert rights.may_send_record(pair, "CDR")
    assert not rights.may_receive_record(pair, "CDR")


def test_the_two_sides_of_a_pair_mirror_each_other() -> None:
    ours, theirs = preset(["cso"], ["csp"], ["NL*XYZ"]), preset(["csp"], ["cso"], ["DE*ABC"])
    assert (ours.feeds_out, ours.feeds_in) == (theirs.feeds_in, theirs.feeds_out)
    assert (ours.services_out, ours.services_in) == (theirs.services_in, theirs.services_out)
    assert (ours.records_out, ours.records_in) == (theirs.records_in, theirs.records_out)


def test_who_plays_both_roles_may_do_both() -> None:
    pair = preset(["csp", "cso"], ["cso", "csp"], ["NL*XYZ"])
    assert all(rights.may_publish(pair, feed) and rights.may_follow(pair, feed) for feed in FEEDS)
    assert all(rights.may_ask(pair, service) and rights.may_be_asked(pair, service) for service in SERVICES)
    assert all(rights.may_send_record(pair, kind) and rights.may_receive_record(pair, kind) for kind in RECORD_KINDS)


@pytest.mark.parametrize("role", ["cso", "csp"])
def test_two_of_the_same_role_have_nothing_to_do_with_each_other(role: str) -> None:
    pair = preset([role], [role], ["NL*XYZ"])
    assert (pair.feeds_out, pair.feeds_in, pair.services_out, pair.services_in) == ((), (), (), ())
    assert (pair.records_out, pair.records_in) == ((), ())


def test_what_no_table_names_is_denied() -> None:
    pair = preset(["cso", "csp"], ["cso", "csp"], ["NL*XYZ"])
    assert not rights.may_publish(pair, "weather")
    assert not rights.may_follow(pair, "weather")
    assert not rights.may_ask(pair, "weather")
    assert not rights.may_receive_record(pair, "weather")


def test_a_new_peer_owns_its_party_ids_as_prefixes() -> None:
    pair = preset(["cso", "csp"], ["cso", "csp"], ["nl-xyz", "NL*XYZ", "BE*QQQ"])
    assert pair.parties == pair.evse_prefixes == pair.contract_prefixes == ("NLXYZ", "BEQQQ")
    assert rights.owns_party(pair, "BEQQQ")
    assert not rights.owns_party(pair, "BEQQ")
    assert rights.owns_contract(pair, "NLXYZC00000001")
    assert not rights.owns_contract(pair, "DEABCC00000001")
    assert rights.owns_evse(pair, "NL*XYZ*E1*2")
    assert not rights.owns_evse(pair, "+49*810*000*438")


def test_a_peer_without_prefixes_owns_nothing() -> None:
    pair = preset(["csp"], ["cso"], ["NL*XYZ"])
    assert pair.contract_prefixes == ()
    assert not rights.owns_contract(pair, "NLXYZC00000001")
    assert not rights.owns_contract(pair, "")


def test_an_agreement_survives_the_store_and_later_versions() -> None:
    pair = preset(["cso"], ["csp"], ["NL*XYZ"])
    assert Agreement.from_json(pair.to_json()) == pair
    assert Agreement.from_json(pair.to_json()[:-1] + b',"later":1}') == pair
    assert pair.unknown_cards_per_minute is None, "the configuration's rate"
    with pytest.raises(msgspec.ValidationError):
        Agreement.from_json(b'{"our_roles":5}')


def test_what_is_no_party_or_role_makes_no_agreement() -> None:
    with pytest.raises(ValueError, match="not a party"):
        preset(["cso"], ["csp"], ["NL"])
    with pytest.raises(ValueError, match="not a role: emsp"):
        preset(["cso"], ["emsp"], ["NL*XYZ"])


def test_the_numbers_on_the_wire_are_the_agreed_ones() -> None:
    assert {number: row.name for number, row in FEED_BY_NUMBER.items()} == {
        1: "locations",
        2: "evse-status",
        3: "tariffs",
        4: "sessions",
        5: "user-credentials",
        6: "commands",
        7: "session-leases",
        8: "reservations",
        9: "grants",
        10: "credential-filter",
    }
    assert {row.number: row.name for row in SERVICES.values()} == {
        1: "authorization",
        16: "start-session",
        17: "stop-session",
        18: "unlock-connector",
        19: "reserve-now",
        20: "cancel-reservation",
        21: "set-charging-profile",
        22: "clear-charging-profile",
        23: "get-active-profile",
        24: "session-question",
        25: "reserve",
        26: "set-charging-preferences",
    }
    assert all(row.number == Service[row.command] for row in SERVICES.values())
