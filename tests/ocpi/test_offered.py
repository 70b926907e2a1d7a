"""What partners publish, fetched page by page; their cards authorized; and who is there."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from roamd.backend.examples import LOCATION, TARIFF, TOKEN
from roamd.backend.ocpi.offered import record_text, shown
from roamd.model.keyedlist import keyed_body
from roamd.roaming import operations as ops
from tests.model import bodies
from tests.support.core import FakeCore, operations_of
from tests.support.ocpi import PEER, Desk, run_ocpi

OTHER = ops.Partner("other", "Other", ("NLOTH",), ("cso",), "PAIRED", False, PEER.since_ms)


def of_peer(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**body, "country_code": "FR", "party_id": "XYZ", **changes}


def publish(core: FakeCore, feed: str, *objects: dict[str, Any], peer: str = "xyz") -> None:
    for each in objects:
        key = str(each.get("id", each.get("uid")))
        core.theirs[peer, feed, key.upper()] = ops.StoredObject(bodies.text(each), '"1"', "2.2.1")


def world() -> FakeCore:
    core = FakeCore()
    core.partners = [PEER, OTHER]
    return core


def tariffs(count: int) -> list[dict[str, Any]]:
    return [of_peer(TARIFF, id=f"T{n:02}", last_updated=f"2026-11-22T10:00:{n:02}Z") for n in range(count)]


def ids(answered: Any) -> list[str]:
    return [each["id"] for each in answered.json["data"]]


async def crawl(desk: Desk, path: str) -> list[str]:
    found = []
    url: str | None = path
    while url is not None:
        answered = await desk.need("GET", url)
        found += ids(answered)
        link = answered.headers.get("Link")
        url = None if link is None else link[1 : link.index(">")]
    return found


def test_pages_follow_the_link_oldest_first_and_tell_the_count() -> None:
    core = world()
    publish(core, "tariffs", *reversed(tariffs(7)))

    async def test(desk: Desk) -> None:
        first = await desk.need("GET", "/cpo/2.2.1/tariffs?limit=3")
        assert (first.headers["X-Total-Count"], first.headers["X-Limit"]) == ("7", "500")
        assert ids(first) == ["T00", "T01", "T02"]
        assert await crawl(desk, "/cpo/2.2.1/tariffs?limit=3") == [f"T{n:02}" for n in range(7)]

    run_ocpi(test, core=core, registered=True)


def test_a_crawl_is_stable_while_objects_come_and_go() -> None:
    core = world()
    publish(core, "tariffs", *tariffs(6))

    async def test(desk: Desk) -> None:
        first = await desk.need("GET", "/cpo/2.2.1/tariffs?limit=2")
        publish(core, "tariffs", of_peer(TARIFF, id="A-NEW", last_updated="2020-01-01T00:00:00Z"))
        rest = await crawl(desk, "/cpo/2.2.1/tariffs?limit=2&offset=2")
        assert ids(first) + rest == [f"T{n:02}" for n in range(6)]
        del core.theirs["xyz", "tariffs", "T04"]
        assert ids(await desk.need("GET", "/cpo/2.2.1/tariffs?limit=2&offset=4")) == ["T05"]

    run_ocpi(test, core=core, registered=True)


def test_the_link_holds_offset_limit_and_dates_and_nothing_else() -> None:
    core = world()
    publish(core, "tariffs", *tariffs(4))

    async def test(desk: Desk) -> None:
        answered = await desk.need("GET", "/cpo/2.2.1/tariffs?limit=1&date_from=2026-11-22T10:00:01%2B00:00&x=y")
        link = answered.headers["Link"]
        assert link.endswith('>; rel="next"')
        assert parse_qs(urlsplit(link[1 : link.index(">")]).query) == {
            "date_from": ["2026-11-22T10:00:01+00:00"],
            "offset": ["1"],
            "limit": ["1"],
        }

    run_ocpi(test, core=core, registered=True)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("date_from=2026-11-22T10:00:02Z", ["T02", "T03"]),
        ("date_from=2026-11-22T10:00:02", ["T02", "T03"]),
        ("date_from=2026-11-22T10:00:02+00:00", ["T02", "T03"]),
        ("date_to=2026-11-22T10:00:02Z", ["T00", "T01"]),
        ("date_from=2026-11-22T10:00:01Z&date_to=2026-11-22T10:00:02Z", ["T01"]),
        ("limit=0", ["T00", "T01", "T02", "T03"]),
        ("limit=999999&offset=-1", ["T00", "T01", "T02", "T03"]),
        ("offset=99", []),
    ],
)
def test_dates_and_odd_numbers_are_understood(query: str, expected: list[str]) -> None:
    core = world()
    publish(core, "tariffs", *tariffs(4))

    async def test(desk: Desk) -> None:
        assert ids(await desk.need("GET", f"/cpo/2.2.1/tariffs?{query}")) == expected

    run_ocpi(test, core=core, registered=True)


def test_a_date_that_is_none_is_refused_by_name() -> None:
    async def test(desk: Desk) -> None:
        answered = await desk.send("GET", "/cpo/2.2.1/tariffs?date_from=yesterday")
        assert (answered.status, answered.json["status_code"]) == (400, 2001)
        assert "date_from" in answered.json["status_message"]

    run_ocpi(test, registered=True)


def test_routing_headers_narrow_a_list_to_one_party_and_an_unknown_one_is_4001() -> None:
    core = world()
    publish(core, "tariffs", *tariffs(2))
    publish(core, "tariffs", {**TARIFF, "country_code": "NL", "party_id": "OTH", "id": "N1"}, peer="other")

    async def test(desk: Desk) -> None:
        def to(country: str, party: str) -> dict[str, str]:
            return {"OCPI-to-country-code": country, "OCPI-to-party-id": party}

        path = "/cpo/2.2.1/tariffs"
        assert ids(await desk.need("GET", path, headers=to("nl", "oth"))) == ["N1"]
        assert len(ids(await desk.need("GET", path, headers=to("DE", "ABC")))) == 3
        unknown = await desk.send("GET", path, headers=to("SE", "NIX"))
        assert (unknown.status, unknown.json["status_code"]) == (404, 4001)

    run_ocpi(test, core=core, registered=True)


def test_one_location_and_its_parts_are_read_with_a_stamp_that_covers_them() -> None:
    core = world()
    evse = {**LOCATION["evses"][0], "status": "CHARGING", "last_updated": "2026-11-22T18:00:00Z"}
    publish(core, "locations", of_peer(LOCATION, evses=[evse]))

    async def test(desk: Desk) -> None:
        assert (await desk.need("GET", "/cpo/2.2.1/locations/LOC1")).json["data"]["last_updated"] == evse[
            "last_updated"
        ]
        assert (await desk.need("GET", "/cpo/2.2.1/locations/loc1/3256")).json["data"] == evse
        assert (await desk.need("GET", "/cpo/2.2.1/locations/LOC1/3256/1")).json["data"] == evse["connectors"][0]
        assert ids(await desk.need("GET", "/cpo/2.2.1/locations?date_from=2026-11-22T17:00:00Z")) == ["LOC1"]
        assert (await desk.send("GET", "/cpo/2.2.1/locations/NONE")).json["status_code"] == 2003

    run_ocpi(test, core=core, registered=True)


def test_cdrs_that_came_in_are_listed() -> None:
    core = world()
    for number in range(3):
        body = bodies.cdr(id=f"C{number}", last_updated=f"2026-11-22T10:00:0{number}Z")
        reply = ops.RecordReply(
            record_id=f"C{number}", state="DELIVERED", peer="xyz", party="FRXYZ", kind="CDR", direction="in",
            created_at="2026-11-22T12:00:00Z",
        )  # fmt: skip
        core.records[f"C{number}"] = (reply, json.dumps(body).encode())

    async def test(desk: Desk) -> None:
        assert await crawl(desk, "/cpo/2.2.1/cdrs?limit=2") == ["C0", "C1", "C2"]
        assert ids(await desk.need("GET", "/cpo/2.2.1/cdrs?date_from=2026-11-22T10:00:01Z")) == ["C1", "C2"]
        assert (await desk.need("GET", "/cpo/2.2.1/cdrs/C1")).json["data"]["id"] == "C1"

    run_ocpi(test, core=core, registered=True)


def test_client_infos_tell_who_is_there_now() -> None:
    core = world()

    async def test(desk: Desk) -> None:
        infos = (await desk.need("GET", "/cpo/2.2.1/hubclientinfo")).json["data"]
        shown = {(i["country_code"] + i["party_id"], i["role"], i["status"]) for i in infos}
        assert shown == {("FRXYZ", "CPO", "CONNECTED"), ("FRXYZ", "EMSP", "CONNECTED"), ("NLOTH", "CPO", "OFFLINE")}
        core.partners = [ops.Partner("xyz", "X", ("FRXYZ",), ("cso",), "SUSPENDED", False, PEER.since_ms)]
        (changed,) = (await desk.need("GET", "/emsp/2.2.1/hubclientinfo")).json["data"]
        assert changed["status"] == "SUSPENDED"
        assert changed["last_updated"] > infos[0]["last_updated"]

    run_ocpi(test, core=core, registered=True)


# --- authorization ------------------------------------------------------------------------------------------------

UID = TOKEN["uid"]


def decide(core: FakeCore, decision: str, home: str | None = "xyz", reference: str | None = None) -> None:
    reply = ops.AuthorizationReply(
        decision=decision, reason="", source="BACKEND", home_csp=home, authorization_id="a" * 32, asked=["xyz"],
        elapsed_ms=1.0, authorization_reference=reference,
    )  # fmt: skip
    core._authorize = lambda asked: reply  # type: ignore[method-assign]  # the decision is the test's


@pytest.mark.parametrize("path", [f"{UID}/authorize", f"FR/XYZ/{UID}/authorize/", f"{UID}//authorize?type=rfid"])
@pytest.mark.parametrize("body", [None, b"", {"location_id": "LOC1", "evse_uids": ["3256"]}])
def test_a_card_is_authorized_by_both_addresses_with_and_without_a_place(path: str, body: Any) -> None:
    core = world()
    publish(core, "user-credentials", of_peer(TOKEN))
    decide(core, "ALLOWED", reference="REF-1")

    async def test(desk: Desk) -> None:
        info = (await desk.need("POST", f"/emsp/2.2.1/tokens/{path}", body)).json["data"]
        assert info == {"allowed": "ALLOWED", "token": of_peer(TOKEN), "authorization_reference": "REF-1"}
        (asked,) = operations_of(core, ops.Authorize)
        assert asked.credential == ops.CredentialIn("RFID", UID)
        assert asked.location == (ops.PlaceIn("LOC1", "3256") if isinstance(body, dict) else None)

    run_ocpi(test, core=core, registered=True)


def test_a_card_of_a_keyed_list_is_authorized_by_its_number_and_its_hash_is_shown_to_nobody() -> None:
    core = world()
    token = of_peer(TOKEN, uid=UID)
    hashed = json.loads(keyed_body(bytes(16), "RFID", UID, bodies.text(token)))
    publish(core, "user-credentials", hashed, of_peer(TOKEN, uid="04PLAIN1"))
    decide(core, "ALLOWED")

    async def test(desk: Desk) -> None:
        listed = await desk.need("GET", "/emsp/2.2.1/tokens")
        assert [each["uid"] for each in listed.json["data"]] == ["04PLAIN1"]
        assert (await desk.send("GET", f"/emsp/2.2.1/tokens/{hashed['uid']}")).status == 404
        info = (await desk.need("POST", f"/emsp/2.2.1/tokens/{UID}/authorize")).json["data"]
        assert (info["allowed"], info["token"]["uid"], info["token"]["whitelist"]) == ("ALLOWED", UID, "NEVER")

    run_ocpi(test, core=core, registered=True)


@pytest.mark.parametrize("decision", ["ALLOWED", "BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED"])
def test_every_decision_is_http_200_with_a_token_and_a_reference_only_where_allowed(decision: str) -> None:
    core = world()
    decide(core, decision)

    async def test(desk: Desk) -> None:
        info = (await desk.need("POST", f"/emsp/2.2.1/tokens/{UID}/authorize")).json["data"]
        assert info["allowed"] == decision
        assert ("authorization_reference" in info) is (decision == "ALLOWED")
        assert (info["token"]["uid"], info["token"]["party_id"]) == (UID, "XYZ")

    run_ocpi(test, core=core, registered=True)


def test_an_unknown_card_is_404_and_2004_and_a_party_that_is_away_4003() -> None:
    core = world()
    decide(core, "UNKNOWN", home=None)

    async def test(desk: Desk) -> None:
        path = f"/emsp/2.2.1/tokens/{UID}/authorize"
        answered = await desk.send("POST", path)
        assert (answered.status, answered.json["status_code"]) == (404, 2004)
        away = {"OCPI-to-country-code": "NL", "OCPI-to-party-id": "OTH"}
        assert (await desk.send("POST", path, headers=away)).json["status_code"] == 4003

    run_ocpi(test, core=core, registered=True)


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        (f"{UID}/authorize", b"{", "$"),
        (f"{UID}/authorize", {"location_id": 7}, "$.location_id"),
        (f"{UID}/authorize", {"location_id": "L", "evse_uids": "E"}, "$.evse_uids"),
        (f"{UID}/authorize?type=CARD", None, "type"),
        (f"{'9' * 37}/authorize", None, "uid"),
    ],
)
def test_questions_that_cannot_be_read_are_refused_by_name(path: str, body: Any, place: str) -> None:
    async def test(desk: Desk) -> None:
        answered = await desk.send("POST", f"/emsp/2.2.1/tokens/{path}", body)
        assert (answered.status, answered.json["status_code"]) == (400, 2001)
        assert place in answered.json["status_message"]
        assert not operations_of(desk.core, ops.Authorize)

    run_ocpi(test, registered=True)


def test_a_backend_that_speaks_ocpi_sees_its_own_contract_in_sessions_and_records() -> None:
    session = ops.StoredObject(bodies.text(bodies.session()), '"1"', "2.2.1", contract_id="own-7")
    assert json.loads(shown("sessions", session)) == bodies.session(cdr_token=bodies.cdr_token(contract_id="own-7"))
    reply = ops.RecordReply(
        "C", "DELIVERED", "xyz", "DEABC", "CDR", "in", record=msgspec.Raw(bodies.text(bodies.cdr()))
    )
    assert record_text(reply)[0] == bodies.text(bodies.cdr())
    ours, _ = record_text(msgspec.structs.replace(reply, contract_id="own-7"))
    assert json.loads(ours)["cdr_token"]["contract_id"] == "own-7"
