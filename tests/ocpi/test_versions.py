"""A backend of the other version reads and writes the same objects, each side in its own words."""

import json
from typing import Any

import pytest

from roamd.roaming import operations as ops
from tests.model import bodies
from tests.model.bodies import text
from tests.support.core import FakeCore
from tests.support.ocpi import PEER, Desk, OcpiBackend, run_ocpi

LATER = "2026-01-05T10:00:00Z"
NEW_LOCATION = bodies.location(
    country_code="FR",
    party_id="XYZ",
    evses=[bodies.evse(parking=[{"parking_id": "P1"}])],
    help_phone="+33 1",
    own_field={"kept": [1.50]},
)
OLD_LOCATION = bodies.location(country_code="FR", party_id="XYZ", evses=[bodies.evse()], own_field={"kept": [1.50]})


def core_with(feed: str, body: dict[str, Any], ocpi: str = "2.3.0") -> FakeCore:
    core = FakeCore()
    core.partners = [PEER]
    core.theirs[PEER.peer, feed, str(body.get("id") or body["uid"]).upper()] = ops.StoredObject(text(body), '"1"', ocpi)
    return core


def test_a_list_is_told_in_the_version_of_its_address(capfd: pytest.CaptureFixture[str]) -> None:
    core = core_with("locations", NEW_LOCATION)

    async def test(desk: Desk) -> None:
        await desk.register()
        old = await desk.need("GET", "/cpo/2.2.1/locations")
        new = await desk.need("GET", "/cpo/2.3.0/locations")
        assert (old.json["data"], new.json["data"]) == ([OLD_LOCATION], [NEW_LOCATION])
        one = await desk.need("GET", "/cpo/2.2.1/locations/Loc-1/E1")
        assert one.json["data"] == bodies.evse()
        assert b"[1.5]" in old.body or b"[1.50]" in old.body

    run_ocpi(test, core=core)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "ocpi_answer_converted" in line]
    assert lines[0]["losses"] == 2
    assert sorted(lines[0]["paths"]) == ["$.evses[].parking evse-parking x1", "$.help_phone help-phone x1"]
    assert (lines[0]["module"], lines[0]["version"], len(lines)) == ("locations", "2.2.1", 2)


def test_what_is_pushed_is_told_in_the_version_that_the_backend_registered_with() -> None:
    core = core_with("locations", NEW_LOCATION)
    backend = OcpiBackend(modules=[("locations", "RECEIVER")])

    async def test(desk: Desk) -> None:
        await desk.register("/2.2.1/credentials")
        await desk.sent(("PUT", "/locations/FR/XYZ/Loc-1"))
        (sent,) = [seen.body for seen in backend.pushed("PUT") if seen.path.startswith("/locations")]
        assert sent == OLD_LOCATION

    run_ocpi(test, core=core, backend=backend)


def test_a_received_cdr_is_read_in_the_backends_version_and_stays_as_it_was_signed() -> None:
    core = FakeCore()
    core.partners = [PEER]
    body = text(bodies.cdr(total_cost={"before_taxes": 10.00, "taxes": [{"name": "VAT", "amount": 2.1}]}))
    reply = ops.RecordReply("Cdr-1", "DELIVERED", PEER.peer, "DEABC", "CDR", "in", created_at=LATER)
    core.records["CDR-1"] = (reply, body)
    core.record_versions["Cdr-1"] = "2.3.0"

    async def test(desk: Desk) -> None:
        await desk.register()
        old = await desk.need("GET", "/cpo/2.2.1/cdrs")
        new = await desk.need("GET", "/cpo/2.3.0/cdrs/Cdr-1")
        assert old.json["data"][0]["total_cost"] == {"excl_vat": 10.0, "incl_vat": 12.1}
        assert new.json["data"] == json.loads(body)
        assert core.records["CDR-1"][1] == body

    run_ocpi(test, core=core)


def test_a_token_in_an_authorization_is_told_in_the_askers_version() -> None:
    card = bodies.token(country_code="FR", party_id="XYZ", uid="FRXYZC12345678", type="EMAID")
    core = core_with("user-credentials", card)

    async def test(desk: Desk) -> None:
        await desk.register()
        reply = ops.AuthorizationReply(
            decision="ALLOWED",
            reason="",
            source="HOME",
            home_csp=PEER.peer,
            authorization_id="a",
            asked=[],
            elapsed_ms=1,
        )
        core._authorize = lambda asked: reply  # type: ignore[method-assign]
        for version, kind in (("2.2.1", "OTHER"), ("2.3.0", "EMAID")):
            where = f"/emsp/{version}/tokens/FRXYZC12345678/authorize?type=EMAID"
            answered = await desk.need("POST", where)
            assert answered.json["data"]["token"] == {**card, "type": kind}

    run_ocpi(test, core=core)


# --- writing ----------------------------------------------------------------------------------------------------

OWN = bodies.location(evses=[bodies.evse(parking=[{"parking_id": "P1"}])], help_phone="1", city="Old")
PATH = "locations/DE/ABC/Loc-1"


async def written(desk: Desk, method: str, path: str, body: Any) -> dict[str, Any]:
    """What stands in the store after a request by a 2.2.1 backend, in the version in which it was published: 2.3.0."""
    await desk.need("PUT", f"/emsp/2.3.0/{PATH}", OWN)
    await desk.need(method, f"/emsp/2.2.1/{path}", body)
    ((stored, ocpi, *_),) = [kept for key, kept in desk.core.objects.items() if key[0] == "locations"]
    assert ocpi == "2.3.0"
    found: dict[str, Any] = json.loads(stored)
    return found


def test_a_patch_of_the_other_version_changes_what_it_names_and_nothing_else() -> None:
    async def test(desk: Desk) -> None:
        change = {"city": "New", "last_updated": LATER}
        assert await written(desk, "PATCH", PATH, change) == {**OWN, **change}

    run_ocpi(test, registered=True)


def test_a_patch_of_an_evse_keeps_what_the_other_version_does_not_know() -> None:
    async def test(desk: Desk) -> None:
        change = {"floor_level": "2", "last_updated": LATER}
        found = await written(desk, "PATCH", f"{PATH}/E1", change)
        assert found["evses"] == [{**OWN["evses"][0], **change}]
        assert found["last_updated"] == LATER

    run_ocpi(test, registered=True)


def test_an_evse_that_is_put_is_written_in_the_version_of_its_location() -> None:
    async def test(desk: Desk) -> None:
        evse = bodies.evse("E9", last_updated=LATER, help="own")
        found = await written(desk, "PUT", f"{PATH}/E9", evse)
        assert found["evses"] == [*OWN["evses"], evse]

    run_ocpi(test, registered=True)


def test_a_patched_price_reaches_a_session_of_the_other_version_whole() -> None:
    async def test(desk: Desk) -> None:
        session = bodies.session(total_cost={"before_taxes": 1, "taxes": [{"name": "QST", "amount": 0.5}]})
        await desk.need("PUT", "/emsp/2.3.0/sessions/DE/ABC/S-1", session)
        change = {"total_cost": {"excl_vat": 2.00, "incl_vat": 2.50}, "kwh": 3, "last_updated": LATER}
        await desk.need("PATCH", "/emsp/2.2.1/sessions/DE/ABC/S-1", change)
        now = (await desk.need("GET", "/emsp/2.3.0/sessions/DE/ABC/S-1")).json["data"]
        assert now["total_cost"] == {"before_taxes": 2.0, "taxes": [{"name": "VAT", "amount": 0.5}]}
        then = (await desk.need("GET", "/emsp/2.2.1/sessions/DE/ABC/S-1")).json["data"]
        assert (then["total_cost"], then["kwh"]) == ({"excl_vat": 2.0, "incl_vat": 2.5}, 3)

    run_ocpi(test, registered=True)


def test_a_member_that_a_patch_takes_away_is_gone_in_both_versions() -> None:
    async def test(desk: Desk) -> None:
        found = await written(desk, "PATCH", PATH, {"evses": None, "last_updated": LATER})
        assert found == {**bodies.without(OWN, "evses"), "last_updated": LATER}

    run_ocpi(test, registered=True)


def test_a_patch_that_is_bad_in_its_own_version_is_refused_with_the_path() -> None:
    async def test(desk: Desk) -> None:
        await desk.need("PUT", f"/emsp/2.3.0/{PATH}", OWN)
        answered = await desk.send("PATCH", f"/emsp/2.2.1/{PATH}", {"city": 7, "last_updated": LATER})
        assert (answered.status, answered.json["status_code"]) == (400, 2001)
        assert "$.city" in answered.json["status_message"]

    run_ocpi(test, registered=True)


def test_a_credit_is_a_cdr_among_the_others() -> None:
    core = FakeCore()
    core.partners = [PEER]
    for name, kind in (("Cdr-1", "CDR"), ("Cdr-1-C", "CREDIT"), ("Sdr-1", "SDR")):
        reply = ops.RecordReply(name, "DELIVERED", PEER.peer, "DEABC", kind, "in", created_at=LATER)
        core.records[name.upper()] = (reply, text(bodies.cdr(id=name, total_cost={"excl_vat": 1})))

    async def test(desk: Desk) -> None:
        listed = (await desk.need("GET", "/cpo/2.2.1/cdrs")).json["data"]
        assert [each["id"] for each in listed] == ["Cdr-1", "Cdr-1-C"]

    run_ocpi(test, core=core, registered=True)
