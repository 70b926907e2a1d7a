"""Grants: signed by the home-CSP, checked by the visited-CSO alone, revoked, used up, never believed without reason."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from roamd.errors import Conflict, Malformed
from roamd.model.grants import LONGEST_MS, grant_document, impossible_grant, sealed, unsealed
from roamd.model.keys import ObjectKey
from roamd.model.objects import check_object
from roamd.protocol.bulk import FeedItem
from roamd.roaming import operations as op
from roamd.roaming.catalogue import Catalogue
from roamd.roaming.decisions import DecisionDesk
from roamd.roaming.grants import KEPT_MS, GrantIssuer, withdraw_ended_txn
from roamd.roaming.operations import CredentialIn, PlaceIn
from roamd.storage import decisions, feeds, grants
from roamd.trust.signing import verify
from tests.model import bodies
from tests.support.roaming import Company, FeedLine, LogLines, Told
from tests.support.station import Station, summary

HERE = PlaceIn("Loc-1", "E1")
VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "grants.json").read_text(encoding="utf-8"))


def grant(**changes: Any) -> dict[str, Any]:
    plain = {"country_code": "FR", "party_id": "RMD", "id": "G-1", "type": "RFID", "uid": "04:a1:b2:c3"}
    return {**plain, "valid_until": "2026-01-06T09:00:00Z", "last_updated": bodies.STAMP, **changes}


class Home:
    """The CSP's catalogue, and the feed to the CSO, which is carried when a test says so."""

    def __init__(self, csp: Company, station: Station) -> None:
        self.csp, self.station = csp, station
        issuer = GrantIssuer(csp.identity.endpoint_id, csp.identity.sign, csp.clock)
        self.catalogue = Catalogue(
            csp.clock, csp.store, frozenset({csp.party}), lambda feed: None,
            sealed={"grants": issuer.seal_txn}, revoked={"grants": issuer.revocation},
        )  # fmt: skip

    def grants(self, told: Told | None = None, **changes: Any) -> Any:
        """Its backend grants, and the CSO hears of it."""
        told = told or Told()
        checked = check_object("grants", "2.3.0", bodies.text(grant(**changes)), own_parties=frozenset({"FRRMD"}))
        self.catalogue.put(op.PutObject("grants", checked), told)
        self.carry()
        return told.all[0]

    def revokes(self, id_: str = "G-1") -> None:
        self.catalogue.delete(op.DeleteObject("grants", id_), Told())
        self.carry()

    def published(self, id_: str = "G-1") -> bytes:
        told = Told()
        self.catalogue.get(op.GetObject("grants", id_), told)
        body: bytes = told.one.body
        return body

    def carry(self) -> None:
        line = FeedLine(self.csp, self.station.cso)
        line.follower.taken = {"grants": self.station.grants.taken_txn}
        line.follower.judged = {"grants": self.station.grants.judge}
        line.pump()


@pytest.fixture
def station(cso: Company, csp: Company) -> Station:
    """Without any link."""
    return Station(cso)


@pytest.fixture
def home(csp: Company, station: Station) -> Home:
    return Home(csp, station)


# --- the link is cut --------------------------------------------------------------------------------------------


def test_with_the_link_cut_a_granted_card_starts_and_the_start_is_recorded_as_such(
    station: Station, home: Home, cso: Company
) -> None:
    home.grants(limits={"starts": 2, "kwh": 40.50, "currency": "EUR", "cost": 20}, authorization_reference="REF-9")
    reply = station.ask(location=HERE).one
    assert (reply.decision, reply.source, reply.home_csp, reply.asked) == ("ALLOWED", "GRANT", "rmd", [])
    assert reply.reason == "no answer: rmd (no link); its home-CSP has granted it"
    assert (reply.authorization_reference, reply.valid_until) == ("REF-9", "2026-01-06T09:00:00.000Z")
    assert reply.grant["id"] == "G-1"
    assert json.loads(bytes(reply.grant["limits"])) == {"starts": 2, "kwh": 40.5, "currency": "EUR", "cost": 20}
    assert b"40.5" in bytes(reply.grant["limits"]), "as the home-CSP's backend wrote it"
    told = Told()
    DecisionDesk(cso.store, cso.journal).list(op.ListDecisions(), told)
    (noted,) = told.one.items
    assert (noted.source, noted.uid, noted.location_id, noted.row) == ("GRANT", "04A1B2C3", "Loc-1", 13)
    assert noted.facts["grant"] == "offline"
    assert bytes(noted.grant) == home.published(), "the proof is the signed text itself"


def test_a_record_finds_its_home_by_the_grants_reference_also_when_a_crash_took_the_journal(
    station: Station, home: Home, cso: Company
) -> None:
    home.grants()
    assert station.ask(location=HERE).one.authorization_reference == "G-1"
    image = cso.store.snapshot_bytes()
    after = cso.restored(image)
    assert after.store.read(lambda cx: decisions.page(cx, 0, 9)) == []
    assert after.store.read(lambda cx: after.journal.peer_of_reference(cx, "G-1")) == "rmd"


def test_a_revoked_grant_lets_nobody_in_and_its_id_is_spent(station: Station, home: Home, csp: Company) -> None:
    home.grants()
    csp.clock.pass_by(1)
    home.revokes()
    assert summary(station.ask(location=HERE)) == ("NOT_ALLOWED", "POLICY", "rmd")
    assert isinstance(home.grants(last_updated="2026-01-05T10:00:00Z"), Conflict)
    home.grants(id="G-2")
    assert summary(station.ask(location=HERE)) == ("ALLOWED", "GRANT", "rmd"), "another one counts"


def test_a_revocation_takes_an_older_listing_with_it(station: Station, home: Home) -> None:
    station.lists("rmd", whitelist="ALLOWED_OFFLINE")
    home.grants()
    home.revokes()
    assert summary(station.ask(location=HERE)) == ("NOT_ALLOWED", "POLICY", "rmd")


def test_a_revocation_is_signed_and_revoking_again_changes_nothing(home: Home, csp: Company) -> None:
    home.grants()
    home.revokes()
    revocation = home.published()
    text, signature = unsealed(revocation)
    assert signature is not None
    assert json.loads(text)["revoked"] is True
    assert verify(csp.identity.certificate_der, grant_document(csp.identity.endpoint_id, text), signature)
    home.revokes()
    assert home.published() == revocation


def test_a_grant_that_is_withdrawn_without_a_word_is_none(station: Station, home: Home, csp: Company) -> None:
    home.grants()
    csp.withdraw("grants", ObjectKey("FRRMD", "G-1"))
    home.carry()
    assert summary(station.ask(location=HERE)) == ("UNKNOWN", "POLICY", None) or station.ask(location=HERE)
    assert station.grants.find("RFID", "04A1B2C3", HERE) == []


# --- limits -----------------------------------------------------------------------------------------------------


def test_starts_are_counted_in_the_store_and_the_last_is_given_once(station: Station, home: Home, cso: Company) -> None:
    home.grants(limits={"starts": 2})
    assert [summary(station.ask(location=HERE))[0] for _ in range(3)] == ["ALLOWED", "ALLOWED", "NOT_ALLOWED"]
    again = Station(cso.restored(cso.store.snapshot_bytes()))
    assert summary(again.ask(location=HERE))[0] == "NOT_ALLOWED", "a crash gives none back"


def test_of_two_drivers_at_the_same_moment_one_gets_the_last_start(station: Station, home: Home, cso: Company) -> None:
    home.grants(limits={"starts": 1})
    submitted: list[Any] = []
    submit = cso.store.submit
    cso.store.submit = lambda *given, **more: submitted.append((given, more))  # type: ignore[method-assign]
    first, second = station.ask(location=HERE), station.ask(location=HERE)
    assert first.all == second.all == []
    cso.store.submit = submit  # type: ignore[method-assign]
    for given, more in submitted:
        submit(*given, **more)
    assert [summary(told)[0] for told in (first, second)] == ["ALLOWED", "NOT_ALLOWED"]


@pytest.mark.parametrize(
    ("changes", "place", "decision"),
    [
        ({"places": [{"country_code": "de", "party_id": "abc"}]}, None, "ALLOWED"),
        ({"places": [{"country_code": "DE", "party_id": "ABC", "location_id": "LOC-1"}]}, HERE, "ALLOWED"),
        ({"places": [{"country_code": "DE", "party_id": "ABC", "location_id": "Loc-2"}]}, HERE, "NOT_ALLOWED"),
        ({"places": [{"country_code": "DE", "party_id": "ABC", "location_id": "Loc-1"}]}, None, "NOT_ALLOWED"),
        (
            {"places": [{"country_code": "DE", "party_id": "ABC", "location_id": "Loc-1", "evse_uid": "E2"}]},
            HERE,
            "NOT_ALLOWED",
        ),
        ({"places": [{"country_code": "NL", "party_id": "TNM"}]}, HERE, "NOT_ALLOWED"),
        ({"valid_from": "2026-01-05T09:00:01Z"}, HERE, "NOT_ALLOWED"),
        ({"valid_from": "2026-01-05T09:00:00Z"}, HERE, "ALLOWED"),
        ({"type": "APP_USER"}, HERE, "NOT_ALLOWED"),
    ],
)
def test_a_grant_holds_where_and_when_it_says(
    station: Station, home: Home, changes: dict[str, Any], place: PlaceIn | None, decision: str
) -> None:
    home.grants(**changes)
    assert summary(station.ask(location=place))[0] == decision


def test_it_ends_by_the_wall_clock(station: Station, home: Home, cso: Company) -> None:
    home.grants()
    cso.clock.wall_ms += 24 * 3600 * 1000 - 1
    assert summary(station.ask(location=HERE))[0] == "ALLOWED"
    cso.clock.wall_ms += 1
    assert summary(station.ask(location=HERE))[0] == "NOT_ALLOWED"


def test_a_grant_is_for_charging_and_no_random_uid_pin_or_vehicle_has_one(station: Station, home: Home) -> None:
    home.grants()
    assert summary(station.ask(location=HERE, service="PARKING"))[0] == "NOT_ALLOWED"
    for type_, uid in (("RFID", "08A1B2C3"), ("PIN", "1234"), ("VEHICLE_ID", "001122AABBCC")):
        home.grants(id=f"G-{type_}", type=type_, uid=uid)
        assert summary(station.ask(credential=CredentialIn(type_, uid, "FR-RMD-C00000042-X")))[0] == "NOT_ALLOWED"
    home.grants(id="G-APP", type="APP_USER", uid="u-1")
    assert summary(station.ask(credential=CredentialIn("APP_USER", "u-1")))[0] == "ALLOWED"


def test_a_plug_and_charge_contract_is_found_in_every_spelling(station: Station, home: Home) -> None:
    home.grants(type="EMAID", uid="FR-RMD-C00000042-X")
    assert summary(station.ask(credential=CredentialIn("EMAID", "frrmdc00000042x"))) == ("ALLOWED", "GRANT", "rmd")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"valid_until": bodies.STAMP}, "$.valid_until"),
        ({"valid_until": "2026-01-12T09:00:00.001Z"}, "$.valid_until"),
        ({"limits": {"starts": 0}}, "$.limits.starts"),
        ({"limits": {"kwh": -1.5}}, "$.limits.kwh"),
        ({"limits": {"cost": 5}}, "$.limits.currency"),
        ({"limits": {"starts": 1.5}}, "$.limits.starts"),
        ({"places": [{"country_code": "D", "party_id": "ABC"}]}, "$.places[0]"),
        ({"places": [{"country_code": "DE", "party_id": "ABC", "evse_uid": "E1"}]}, "$.places[0].location_id"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_path(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(Malformed) as caught:
        check_object("grants", "2.3.0", bodies.text(grant(**changes)), own_parties=frozenset({"FRRMD"}))
    assert [fault.path for fault in caught.value.faults] == [path]


def test_seven_days_is_the_longest() -> None:
    check_object(
        "grants", "2.3.0", bodies.text(grant(valid_until="2026-01-12T09:00:00Z")), own_parties=frozenset({"FRRMD"})
    )
    assert LONGEST_MS == 7 * 86_400_000


# --- live words come first --------------------------------------------------------------------------------------


def test_what_the_home_says_live_beats_its_grant(station: Station, home: Home) -> None:
    home.grants()
    station.link("rmd")
    told = station.ask(location=HERE)
    station.answer("rmd", "BLOCKED")
    assert summary(told) == ("BLOCKED", "BACKEND", "rmd")
    assert station.cso.store.read(lambda cx: grants.uses(cx, "rmd", "FRRMD", "G-1")) == 0


def test_a_home_that_hangs_costs_the_patience_and_then_its_grant_counts(station: Station, home: Home) -> None:
    home.grants()
    line = station.link("rmd")
    told = station.ask(location=HERE, deadline_ms=3000)
    station.cso.timers.pass_by(0.999)
    assert told.all == []
    station.cso.timers.pass_by(0.001)
    assert summary(told) == ("ALLOWED", "GRANT", "rmd")
    assert line.cancelled == [line.calls[0].id]
    station.answer("rmd", "BLOCKED")
    assert len(told.all) == 1


def test_a_word_that_comes_while_the_use_is_committed_beats_it_and_gives_the_start_back(
    station: Station, home: Home, cso: Company
) -> None:
    home.grants(limits={"starts": 1})
    station.link("rmd")
    told = station.ask(location=HERE, deadline_ms=3000)
    submit = cso.store.submit

    def slow(*given: Any, **more: Any) -> None:
        cso.store.submit = submit  # type: ignore[method-assign]
        station.answer("rmd", "BLOCKED")
        submit(*given, **more)

    cso.store.submit = slow  # type: ignore[method-assign]
    station.cso.timers.pass_by(1)
    assert summary(told) == ("BLOCKED", "BACKEND", "rmd")
    assert cso.store.read(lambda cx: grants.uses(cx, "rmd", "FRRMD", "G-1")) == 0


def test_a_revocation_that_comes_while_the_use_is_committed_counts(station: Station, home: Home, cso: Company) -> None:
    home.grants()
    late: list[Any] = []
    submit = cso.store.submit
    cso.store.submit = lambda *given, **more: late.append((given, more))  # type: ignore[method-assign]
    told = station.ask(location=HERE)
    cso.store.submit = submit  # type: ignore[method-assign]
    home.revokes()
    given, more = late[0]
    submit(*given, **more)
    assert summary(told)[0] == "NOT_ALLOWED"


def test_a_store_that_is_too_slow_does_not_make_the_answer_late(station: Station, home: Home, cso: Company) -> None:
    home.grants(limits={"starts": 1})
    late: list[Any] = []
    submit = cso.store.submit
    cso.store.submit = lambda *given, **more: late.append((given, more))  # type: ignore[method-assign]
    told = station.ask(location=HERE, deadline_ms=1000)
    station.cso.timers.pass_by(0.999)
    assert (told.one.decision, told.one.elapsed_ms < 1000) == ("NOT_ALLOWED", True)
    cso.store.submit = submit  # type: ignore[method-assign]
    given, more = late[0]
    submit(*given, **more)
    assert len(told.all) == 1
    assert cso.store.read(lambda cx: grants.uses(cx, "rmd", "FRRMD", "G-1")) == 0, "the start is given back"


def test_a_grant_at_once_asks_nobody(station: Station, home: Home) -> None:
    home.grants(rule="AT_ONCE", limits={"starts": 1})
    line = station.link("rmd")
    assert summary(station.ask(location=HERE)) == ("ALLOWED", "GRANT", "rmd")
    assert line.calls == []
    told = station.ask(location=HERE)
    assert len(line.calls) == 1, "it is used up, so its home is asked"
    station.answer("rmd", "ALLOWED")
    assert summary(told) == ("ALLOWED", "BACKEND", "rmd")


# --- lying and careless peers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["nobody's", "another's", "another text's", "no", "another algorithm's"])
def test_a_grant_with_a_wrong_signature_lets_nobody_in(
    station: Station, csp: Company, cso: Company, log: LogLines, how: str
) -> None:
    text = bodies.text(grant())
    sign = {"another's": cso.identity.sign, "nobody's": lambda document: b"\x30" * 70}.get(how, csp.identity.sign)
    signed = bodies.text(grant(id="G-2")) if how == "another text's" else text
    body = sealed(text, sign(grant_document(csp.identity.endpoint_id, signed)))
    body = {"no": text, "another algorithm's": body.replace(b"p256-sha256", b"p521-sha512")}.get(how, body)
    item = FeedItem("FRRMD", "G-1", "", "2.3.0", body)
    station.cso.store.write(lambda cx: _mirrored_txn(cx, station, item))
    assert summary(station.ask(location=HERE))[0] == "NOT_ALLOWED"
    assert [line["reason"] for line in log.of("grant_refused")] == ["signature"]
    assert "a grant of its is not signed by it" in station.cso.peer("rmd").alarms


def _mirrored_txn(cx: Any, station: Station, item: FeedItem) -> None:
    key = ObjectKey(item.party, item.id)
    assert item.body is not None
    feeds.mirror_put_txn(cx, "rmd", "grants", key, ocpi="2.3.0", body=item.body, generation=0)
    station.grants.taken_txn(cx, "rmd", item, 0)


def test_an_older_grant_never_takes_a_revocations_place(station: Station, home: Home, csp: Company) -> None:
    home.grants()
    older = home.published()
    home.revokes()
    judged = station.grants.judge(home.published(), FeedItem("FRRMD", "G-1", "", "2.3.0", older), replacing=True)
    assert judged is not None
    csp.store.write(lambda cx: feeds.publish_txn(cx, "grants", ObjectKey("FRRMD", "G-1"), "2.3.0", older, "*", 0))
    home.carry()
    assert summary(station.ask(location=HERE))[0] == "NOT_ALLOWED"


def test_a_peer_that_is_no_csp_of_ours_any_more_grants_nothing(station: Station, home: Home, csp: Company) -> None:
    home.grants()
    station.cso.meets(csp, "rmd", feeds_in=())
    assert station.grants.find("RFID", "04A1B2C3", HERE) == []


def test_where_the_operator_lets_nobody_in_without_an_answer_a_grant_does_not_either(
    station: Station, home: Home
) -> None:
    home.grants()
    station.visited.whitelist_offline = False
    assert summary(station.ask(location=HERE))[0] == "NOT_ALLOWED"


# --- the home's side --------------------------------------------------------------------------------------------


def test_the_same_text_again_makes_no_version_and_another_is_signed_anew(home: Home) -> None:
    first, second = home.grants(), home.grants()
    assert (second.etag, second.changed, second.body) == (first.etag, False, first.body)
    third = home.grants(limits={"kwh": 10})
    assert third.changed
    assert unsealed(third.body)[1] is not None


def test_a_signature_that_the_backend_writes_itself_is_replaced(home: Home, csp: Company) -> None:
    first = home.grants()
    told = Told()
    checked = check_object("grants", "2.3.0", first.body, own_parties=frozenset({"FRRMD"}))
    home.catalogue.put(op.PutObject("grants", checked), told)
    assert told.one.body == first.body
    patched = Told()
    home.catalogue.patch(op.PatchObject("grants", "G-1", b'{"limits":{"kwh":5}}', "2.3.0"), patched)
    text, signature = unsealed(patched.one.body)
    assert signature is not None
    assert b"signature" not in text
    assert verify(csp.identity.certificate_der, grant_document(csp.identity.endpoint_id, text), signature)


def test_a_grant_with_places_is_shown_to_those_whose_they_are(station: Station, home: Home, csp: Company) -> None:
    other = Company(3, "NLTNM", "cso", clock=csp.clock)
    csp.meets(other, "tnm")
    other.meets(csp, "rmd")
    home.grants(places=[{"country_code": "DE", "party_id": "ABC"}])
    FeedLine(csp, other).pump()
    assert other.mirrored("rmd", "grants") == {}
    assert len(station.cso.mirrored("rmd", "grants")) == 1


def test_own_grants_leave_the_feed_a_day_after_their_end(home: Home, csp: Company) -> None:
    home.grants()
    end_ms = bodies.STAMP_MS + 24 * 3600 * 1000
    assert csp.store.write(lambda cx: withdraw_ended_txn(cx, end_ms + KEPT_MS)) == 0
    assert csp.store.write(lambda cx: withdraw_ended_txn(cx, end_ms + KEPT_MS + 1)) == 1
    home.carry()
    assert home.station.cso.mirrored("rmd", "grants") == {}


# --- erasing ----------------------------------------------------------------------------------------------------


def test_erasing_a_driver_leaves_the_count_and_the_decision(station: Station, home: Home, cso: Company) -> None:
    home.grants(limits={"starts": 1})
    station.ask(location=HERE)
    cso.journal.flush()
    cso.store.write(lambda cx: grants.erase_txn(cx, "04A1B2C3"))
    cso.store.write(lambda cx: decisions.erase_txn(cx, "RFID", "04A1B2C3"))
    ((_, row),) = cso.store.read(lambda cx: decisions.page(cx, 0, 9))
    assert (row.uid, row.contract_id, row.location_id, row.evse_uid, row.decision) == (
        None,
        None,
        None,
        None,
        "ALLOWED",
    )
    assert cso.store.read(lambda cx: grants.uses(cx, "rmd", "FRRMD", "G-1")) == 1
    assert cso.store.read(lambda cx: grants.use_of(cx, row.authorization_id)).body is None  # type: ignore[union-attr]


# --- the vectors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", VECTORS["grants"], ids=lambda row: row["what"])
def test_openssl_checks_a_published_grant(row: dict[str, str], tmp_path: Path) -> None:
    text, signature = unsealed(row["body"].encode())
    assert (text.decode(), (signature or b"").hex()) == (row["text"], row["signature"])
    assert grant_document(VECTORS["issuer"]["endpoint_id"], text).hex() == row["document"]
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    for name, content in (("d", bytes.fromhex(row["document"])), ("s", signature or b"")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "k").write_text(VECTORS["issuer"]["public_key"])
    command = ["openssl", "dgst", "-sha256", "-verify", "k", "-signature", "s", "d"]
    assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 0


def test_the_published_revocation_follows_the_grant() -> None:
    first, second = (json.loads(row["body"]) for row in VECTORS["grants"])
    views = [
        check_object("grants", "2.3.0", bodies.text(value), own_parties=frozenset({"FRRMD"})).view
        for value in (first, second)
    ]
    assert impossible_grant(views[0], views[1]) is None  # type: ignore[arg-type]
    assert impossible_grant(views[1], views[0]) is not None  # type: ignore[arg-type]
