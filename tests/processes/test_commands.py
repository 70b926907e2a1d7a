"""Remote control through two real daemons: told once, followed, and the outcome survives a kill."""

from roamd.demo import objects
from roamd.demo.objects import APP_DRIVER
from tests.support.daemons import Company, Fleet

NOW_MS = 1_780_000_000_000


def two(fleet: Fleet) -> tuple[Company, Company]:
    cso, csp = fleet.company("cso", "BE*RMC"), fleet.company("csp", "FR*RMD")
    fleet.start(cso, csp)
    fleet.pair(cso, csp)
    cso.api.need("PUT", f"/v1/locations/{objects.LOCATION_ID}", objects.location(NOW_MS))
    mirrored = f"/v1/peers/{csp.partners['cso']}/locations/{objects.LOCATION_ID}"
    fleet.wait_until("the location arriving", lambda: csp.api.find(mirrored))
    return cso, csp


def state_at(company: Company, command_id: str) -> str:
    return str(company.api.get(f"/v1/commands/{command_id}")["state"])


def test_a_start_leads_to_a_session_and_a_record_that_bear_its_id(fleet: Fleet) -> None:
    cso, csp = two(fleet)
    path, start = "/v1/commands/START_SESSION?timeout_s=600", objects.start(APP_DRIVER, "APP-1", NOW_MS)
    key = {"Idempotency-Key": "tap-1"}
    first = csp.api.request("POST", path, start, key).body
    assert (first["state"], first["result"]) == ("ACCEPTED", "ACCEPTED")
    assert csp.api.request("POST", path, start, key).body["command_id"] == first["command_id"]
    assert cso.backend is not None
    (told,) = cso.backend.asked("command")
    assert (told["command_id"], told["party"], told["timeout_s"]) == (first["command_id"], "FRRMD", 600)
    assert told["body"] == start

    csp.daemon.kill()
    cso.api.need("PUT", "/v1/sessions/S-1", objects.session("S-1", APP_DRIVER, "APP-1", NOW_MS))
    fleet.start(csp)
    fleet.wait_until("the start at the CSP", lambda: state_at(csp, first["command_id"]) == "STARTED")
    assert csp.api.get(f"/v1/commands/{first['command_id']}")["session_id"] == "S-1"

    bill = objects.cdr("CDR-1", APP_DRIVER, NOW_MS, session_id="S-1", reference="APP-1")
    assert cso.api.need("POST", "/v1/records", bill)["peer"] == cso.partners["csp"]
    fleet.wait_until("the record", lambda: csp.api.find("/v1/records/CDR-1"))
    for company in (cso, csp):
        assert company.api.get("/v1/records/CDR-1")["command_id"] == first["command_id"]


def test_a_cso_that_is_killed_while_its_backend_works_never_tells_it_twice(fleet: Fleet) -> None:
    cso, csp = two(fleet)
    assert cso.backend is not None
    cso.backend.control.need("PUT", "/mood", {"mood": "silent"})
    asked = csp.api.need("POST", "/v1/commands/START_SESSION?deadline_ms=300", objects.start(APP_DRIVER, "A-2", NOW_MS))
    assert (asked["state"], asked["result"]) == ("UNKNOWN", "OUTCOME_UNKNOWN")
    cso.daemon.kill()
    cso.backend.control.need("PUT", "/mood", {"mood": "well"})
    fleet.start(cso)
    fleet.wait_linked(cso, csp)
    fleet.wait_until("the CSO's own word", lambda: state_at(cso, asked["command_id"]) == "UNKNOWN")
    cso.api.need("PUT", "/v1/sessions/S-2", objects.session("S-2", APP_DRIVER, "A-2", NOW_MS))
    fleet.wait_until("the start at the CSP", lambda: state_at(csp, asked["command_id"]) == "STARTED")
    assert len(cso.backend.asked("command")) == 1


def test_a_profile_a_lease_and_a_reservation_pass_through_real_daemons(fleet: Fleet) -> None:
    cso, csp = two(fleet)
    label = csp.partners["cso"]
    started = objects.session("S-3", APP_DRIVER, None, NOW_MS)
    cso.api.need("PUT", "/v1/sessions/S-3", started | {"kwh": 2.5})
    lease = fleet.wait_until("the lease", lambda: csp.api.find(f"/v1/peers/{label}/session-leases/S-3"))
    assert lease["lease_until"] > lease["last_updated"]
    refused = cso.api.request("PATCH", "/v1/sessions/S-3", {"kwh": 2.4})
    assert (refused.status, refused.body["code"]) == (409, "impossible-change")

    limit = {"charging_rate_unit": "W", "charging_profile_period": [{"start_period": 0, "limit": 3700.0}]}
    body = {"session_id": "S-3", "charging_profile": limit, "expires_s": 600}
    profile = csp.api.need("POST", "/v1/commands/SET_CHARGING_PROFILE", body)
    assert profile["state"] == "ACCEPTED"
    csp.api.need("POST", "/v1/commands/CLEAR_CHARGING_PROFILE", {"session_id": "S-3"})
    fleet.wait_until("the profile's end", lambda: state_at(csp, profile["command_id"]) == "EXPIRED")

    place = {"location_id": objects.LOCATION_ID, "evse_uid": objects.EVSE_UID}
    when = {"start_date_time": "2026-12-24T08:00:00Z", "end_date_time": "2026-12-24T10:00:00Z"}
    token = objects.start(APP_DRIVER, "R-REF", NOW_MS)["token"]
    asked = {"token": token, "reservation_id": "R-3", "kind": "ADVANCE", **place, **when}
    made = csp.api.need("POST", "/v1/commands/RESERVE", asked)
    shown = {"id": "R-3", "kind": "ADVANCE", "status": "RESERVED", "cdr_token": APP_DRIVER.cdr_token(), **place, **when}
    own = objects.OWNED_BY_CSO | shown | {"last_updated": "2026-12-01T08:00:00Z"}
    cso.api.need("PUT", "/v1/reservations/R-3", own)
    fleet.wait_until("the reservation", lambda: state_at(csp, made["command_id"]) == "DONE")
    assert csp.api.get(f"/v1/peers/{label}/reservations/R-3") == own
