"""What a CPO backend pushes, and an eMSP backend's tokens: into our own feeds and ledger, by OCPI's paths and rules."""

import json
from typing import Any

import pytest

from roamd.backend.examples import LOCATION, SESSION, TARIFF, TOKEN
from roamd.roaming.operations import PatchEvse, PostRecords, PutObject
from tests.model import bodies
from tests.support.core import operations_of
from tests.support.ocpi import Desk, run_ocpi

OLD, THEN, LATER = "2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z", "2026-11-22T13:00:00Z"
LOCATIONS = "/emsp/2.2.1/locations/DE/ABC"
PATHS = {
    "/emsp/2.2.1/locations/DE/ABC/LOC1": LOCATION,
    "/emsp/2.3.0/tariffs/DE/ABC/T1": TARIFF,
    "/emsp/2.2.1/sessions/DE/ABC/S1": SESSION,
    "/cpo/2.2.1/tokens/DE/ABC/04E2A1B2C3D480": TOKEN,
}
EACH = pytest.mark.parametrize(("path", "body"), PATHS.items(), ids=[path.split("/")[3] for path in PATHS])


@EACH
def test_an_object_is_put_read_back_and_not_new_the_second_time(path: str, body: dict[str, Any]) -> None:
    async def test(desk: Desk) -> None:
        assert (await desk.need("PUT", path, body)).status == 201
        assert (await desk.need("PUT", path, body)).status == 200
        assert (await desk.need("GET", path)).json["data"] == body

    run_ocpi(test, registered=True)


@EACH
def test_paths_are_read_in_any_case_and_without_a_content_type(path: str, body: dict[str, Any]) -> None:
    async def test(desk: Desk) -> None:
        parts = path.split("/")
        lower = "/".join([*parts[:4], *(part.lower() for part in parts[4:])])
        await desk.need("PUT", lower + "/", body, headers={"Content-Type": "text/plain"})
        assert (await desk.need("GET", path)).json["data"] == body

    run_ocpi(test, registered=True)


@EACH
def test_what_is_older_than_the_stored_object_is_answered_with_success_and_left_alone(
    path: str, body: dict[str, Any]
) -> None:
    async def test(desk: Desk) -> None:
        await desk.need("PUT", path, body)
        await desk.need("PUT", path, {**body, "last_updated": OLD})
        await desk.need("PATCH", path, {"last_updated": OLD})
        assert (await desk.need("GET", path)).json["data"] == body

    run_ocpi(test, registered=True)


@EACH
def test_a_patch_changes_what_it_names(path: str, body: dict[str, Any]) -> None:
    async def test(desk: Desk) -> None:
        await desk.need("PUT", path, body)
        await desk.need("PATCH", path, {"last_updated": LATER, "x_ours": [1]})
        assert (await desk.need("GET", path)).json["data"] == {**body, "last_updated": LATER, "x_ours": [1]}

    run_ocpi(test, registered=True)


@EACH
def test_a_patch_of_what_is_not_there_is_404_and_2003(path: str, body: dict[str, Any]) -> None:
    async def test(desk: Desk) -> None:
        answered = await desk.send("PATCH", path, {"last_updated": LATER})
        assert (answered.status, answered.json["status_code"]) == (404, 2003)

    del body
    run_ocpi(test, registered=True)


@EACH
def test_refusals_name_the_field(path: str, body: dict[str, Any]) -> None:
    async def test(desk: Desk) -> None:
        name = "uid" if "uid" in body else "id"
        cases = [
            ("PUT", {**body, name: "OTHER"}, f"$.{name}"),
            ("PUT", {**body, "party_id": "XYZ"}, "$.party_id"),
            ("PUT", {k: v for k, v in body.items() if k != "last_updated"}, "$.last_updated"),
            ("PUT", [body], "$"),
            ("PUT", b'{"id":', "$"),
            ("PUT", b"[" * 1_000_000, "$"),
            ("PUT", b'{"last_updated":NaN}', "$"),
            ("PATCH", {"status": "X"}, "$.last_updated"),
            ("PATCH", {"last_updated": "soon"}, "$.last_updated"),
            ("PATCH", {"last_updated": LATER, "party_id": "XYZ"}, "$.party_id"),
            ("PATCH", b'{"last_updated":1,"last_updated":2}', "$.last_updated"),
        ]
        await desk.need("PUT", path, body)
        for method, sent, place in cases:
            answered = await desk.send(method, path, sent)
            assert answered.status in (400, 413), sent
            assert answered.json["status_code"] == 2001
            assert place in answered.json["status_message"] or answered.status == 413
        assert (await desk.need("GET", path)).json["data"] == body

    run_ocpi(test, registered=True)


@pytest.mark.parametrize("owner", ["FR/XYZ", "D/ABC", "DE/A", "%00/%FF"])
def test_another_partys_objects_are_not_this_backends_to_push(owner: str) -> None:
    async def test(desk: Desk) -> None:
        answered = await desk.send("PUT", f"/emsp/2.2.1/tariffs/{owner}/T1", TARIFF)
        assert (answered.status, answered.json["status_code"]) == (404, 2001)
        assert not operations_of(desk.core, PutObject)

    run_ocpi(test, registered=True)


# --- parts of a location ------------------------------------------------------------------------------------------


def test_the_status_of_an_evse_goes_without_its_location_and_raises_its_stamp() -> None:
    async def test(desk: Desk) -> None:
        await desk.need("PUT", f"{LOCATIONS}/LOC1", LOCATION)
        await desk.need("PATCH", f"{LOCATIONS}/LOC1/3256", {"status": "CHARGING", "last_updated": LATER})
        assert len(operations_of(desk.core, PatchEvse)) == 1

    run_ocpi(test, registered=True)


def test_a_late_status_of_an_evse_is_left_alone() -> None:
    async def test(desk: Desk) -> None:
        await desk.need("PUT", f"{LOCATIONS}/LOC1", LOCATION)
        await desk.need("PATCH", f"{LOCATIONS}/LOC1/3256", {"status": "CHARGING", "last_updated": OLD})
        assert not operations_of(desk.core, PatchEvse)

    run_ocpi(test, registered=True)


def test_evses_and_connectors_are_put_patched_and_read_and_raise_the_stamps_above() -> None:
    async def test(desk: Desk) -> None:
        await desk.need("PUT", f"{LOCATIONS}/LOC1", LOCATION)
        second = {**LOCATION["evses"][0], "uid": "3257", "last_updated": LATER}
        assert (await desk.need("PUT", f"{LOCATIONS}/LOC1/3257", second)).status == 201
        plug = {**second["connectors"][0], "id": "2", "last_updated": "2026-11-22T14:00:00Z"}
        assert (await desk.need("PUT", f"{LOCATIONS}/LOC1/3257/2", plug)).status == 201
        await desk.need(
            "PATCH", f"{LOCATIONS}/LOC1/3257/2", {"max_amperage": 16, "last_updated": "2026-11-22T15:00:00Z"}
        )
        stored = (await desk.need("GET", f"{LOCATIONS}/LOC1")).json["data"]
        assert [evse["uid"] for evse in stored["evses"]] == ["3256", "3257"]
        assert [each["id"] for each in stored["evses"][1]["connectors"]] == ["1", "2"]
        assert (await desk.need("GET", f"{LOCATIONS}/loc1/3257/2")).json["data"]["max_amperage"] == 16
        stamps = [stored["last_updated"], stored["evses"][1]["last_updated"]]
        assert stamps == ["2026-11-22T15:00:00Z"] * 2
        assert stored["evses"][0] == LOCATION["evses"][0]

    run_ocpi(test, registered=True)


def test_parts_that_are_not_there_are_404_and_bad_ones_named() -> None:
    async def test(desk: Desk) -> None:
        evse = LOCATION["evses"][0]
        stamp = {"last_updated": LATER}
        assert (await desk.send("PUT", f"{LOCATIONS}/LOC1/3256", evse)).status == 404
        await desk.need("PUT", f"{LOCATIONS}/LOC1", LOCATION)
        for path in ("NONE", "3256/NONE", "NONE/1"):
            assert (await desk.send("PATCH", f"{LOCATIONS}/LOC1/{path}", {**stamp, "floor_level": "1"})).status == 404
            assert (await desk.send("GET", f"{LOCATIONS}/LOC1/{path}")).status == 404
        bad = await desk.send("PUT", f"{LOCATIONS}/LOC1/3256", {**evse, **stamp, "connectors": [7]})
        assert (bad.status, bad.json["status_code"]) == (400, 2001)
        assert "$.evses[0].connectors[0]" in bad.json["status_message"]
        other = await desk.send("PUT", f"{LOCATIONS}/LOC1/3256", {**evse, **stamp, "uid": "3257"})
        assert "$.uid" in other.json["status_message"]

    run_ocpi(test, registered=True)


# --- the rest -----------------------------------------------------------------------------------------------------


def test_a_sessions_patch_appends_charging_periods_once() -> None:
    def period(hour: int, volume: float) -> dict[str, Any]:
        dimensions = [{"type": "ENERGY", "volume": volume}]
        return {"start_date_time": f"2026-11-22T{hour}:00:00Z", "dimensions": dimensions}

    async def test(desk: Desk) -> None:
        path = "/emsp/2.2.1/sessions/DE/ABC/S1"
        await desk.need("PUT", path, {**SESSION, "charging_periods": [period(10, 1.0)]})
        for _ in range(2):
            await desk.need("PATCH", path, {"charging_periods": [period(11, 2.0)], "last_updated": LATER})
        stored = (await desk.need("GET", path)).json["data"]
        assert stored["charging_periods"] == [period(10, 1.0), period(11, 2.0)]

    run_ocpi(test, registered=True)


def test_a_tariff_is_deleted_and_nothing_else_can_be() -> None:
    async def test(desk: Desk) -> None:
        path = "/emsp/2.3.0/tariffs/DE/ABC/T1"
        await desk.need("PUT", path, TARIFF)
        await desk.need("DELETE", path)
        assert (await desk.send("GET", path)).status == 404
        assert (await desk.send("DELETE", path)).json["status_code"] == 2003
        assert (await desk.send("DELETE", f"{LOCATIONS}/LOC1")).status == 405

    run_ocpi(test, registered=True)


def test_tokens_of_one_uid_are_told_apart_by_their_type() -> None:
    async def test(desk: Desk) -> None:
        path = "/cpo/2.2.1/tokens/DE/ABC/04E2A1B2C3D480"
        await desk.need("PUT", path, TOKEN)
        await desk.need("PUT", f"{path}?type=APP_USER", {**TOKEN, "type": "APP_USER"})
        wrong = await desk.send("PUT", f"{path}?type=OTHER", TOKEN)
        assert (wrong.status, "$.type" in wrong.json["status_message"]) == (400, True)
        await desk.need("PATCH", f"{path}?type=APP_USER", {"valid": False, "last_updated": LATER})
        assert (await desk.need("GET", path)).json["data"]["valid"] is True
        assert (await desk.need("GET", f"{path}?type=app_user")).json["data"]["valid"] is False

    run_ocpi(test, registered=True)


def test_a_cdr_gets_a_location_from_which_it_can_be_fetched_and_is_the_same_when_repeated() -> None:
    async def test(desk: Desk) -> None:
        cdr = bodies.cdr(country_code="DE", party_id="ABC", id="CDR/1")
        first = await desk.need("POST", "/emsp/2.3.0/cdrs", cdr)
        again = await desk.need("POST", "/emsp/2.3.0/cdrs/", cdr)
        assert (first.status, again.status) == (201, 201)
        assert first.headers["Location"] == again.headers["Location"]
        assert (await desk.need("GET", first.headers["Location"])).json["data"] == cdr
        other = await desk.send("POST", "/emsp/2.3.0/cdrs", {**cdr, "remark": "changed"})
        assert (other.status, other.json["status_code"]) == (409, 2001)

    run_ocpi(test, registered=True)


def test_a_cdr_that_cannot_be_read_is_refused_and_nothing_is_handed_in() -> None:
    async def test(desk: Desk) -> None:
        cdr = bodies.cdr(country_code="DE", party_id="ABC")
        for bad in (b"", b"[]", json.dumps({**cdr, "total_cost": "free"}).encode(), {**cdr, "party_id": "XYZ"}):
            answered = await desk.send("POST", "/emsp/2.3.0/cdrs", bad)
            assert (answered.status, answered.json["status_code"]) == (400, 2001)
        assert not operations_of(desk.core, PostRecords)
        assert (await desk.send("GET", "/emsp/2.3.0/cdrs/DE/ABC/NONE")).status == 404

    run_ocpi(test, registered=True)
