"""Own objects, peers' objects and batches."""

import json
from typing import Any

import pytest

from roamd.backend.examples import LOCATION, OBJECTS, TARIFF, TOKEN
from roamd.errors import Conflict, StoreFull
from roamd.roaming.operations import DeleteObject, GetObject, PatchEvse, PutObjects, StoredObject
from tests.support.api import Harness, run_api
from tests.support.core import FakeCore, operations_of

TARIFFS = "/v1/tariffs/T1"


def a_tariff(**changes: Any) -> dict[str, Any]:
    return {**TARIFF, **changes}


def test_an_object_comes_back_byte_for_byte_without_its_white_space() -> None:
    async def test(api: Harness) -> None:
        text = json.dumps(TARIFF, indent=2).replace("0.49", "0.490").encode()
        put = await api.send("PUT", TARIFFS, text)
        assert put.status == 201
        assert b'"price":0.490' in put.body
        got = await api.send("GET", TARIFFS)
        assert got.body == put.body
        assert got.headers["ETag"] == put.headers["ETag"]
        assert got.headers["OCPI-Version"] == "2.3.0"
        assert got.headers["Content-Type"].startswith("application/json")

    run_api(test)


def test_putting_it_again_is_200_and_makes_no_version() -> None:
    async def test(api: Harness) -> None:
        first = await api.send("PUT", TARIFFS, TARIFF)
        again = await api.send("PUT", TARIFFS, json.dumps(TARIFF, indent=1).encode())
        assert (first.status, again.status) == (201, 200)
        assert first.headers["ETag"] == again.headers["ETag"]
        changed = await api.send("PUT", TARIFFS, a_tariff(last_updated="2026-11-23T00:00:00Z"))
        assert changed.status == 200
        assert changed.headers["ETag"] != first.headers["ETag"]

    run_api(test)


def test_conditions_hold_or_nothing_happens() -> None:
    async def test(api: Harness) -> None:
        etag = (await api.send("PUT", TARIFFS, TARIFF)).headers["ETag"]
        newer = a_tariff(last_updated="2026-11-23T00:00:00Z")
        assert (await api.send("PUT", TARIFFS, newer, headers={"If-Match": '"other"'})).status == 412
        assert (await api.send("PUT", TARIFFS, newer, headers={"If-None-Match": "*"})).status == 412
        assert (await api.send("PUT", TARIFFS, newer, headers={"If-None-Match": etag})).status == 422
        assert (await api.send("GET", TARIFFS)).headers["ETag"] == etag
        assert (await api.send("PUT", TARIFFS, newer, headers={"If-Match": etag})).status == 200
        assert (await api.send("PATCH", TARIFFS, {}, headers={"If-Match": etag})).status == 412
        assert (await api.send("DELETE", TARIFFS, headers={"If-Match": etag})).status == 412
        assert (await api.send("DELETE", TARIFFS, headers={"If-Match": "*"})).status == 204
        assert (await api.send("PUT", TARIFFS, newer, headers={"If-Match": "*"})).status == 412

    run_api(test)


@pytest.mark.parametrize("header", ["{etag}", "W/{etag}", '"x", {etag}', "*"])
def test_who_has_the_object_gets_304(header: str) -> None:
    async def test(api: Harness) -> None:
        etag = (await api.send("PUT", TARIFFS, TARIFF)).headers["ETag"]
        got = await api.send("GET", TARIFFS, headers={"If-None-Match": header.format(etag=etag)})
        assert (got.status, got.body, got.headers["ETag"]) == (304, b"", etag)
        assert (await api.send("GET", TARIFFS, headers={"If-None-Match": '"other"'})).status == 200

    run_api(test)


def test_every_fault_of_an_object_is_named_and_nothing_is_stored() -> None:
    async def test(api: Harness) -> None:
        bad = {**LOCATION, "id": "OTHER", "country_code": "FR", "address": 5, "city": "x" * 46}
        answered = await api.send("PUT", "/v1/locations/LOC1", bad)
        assert answered.status == 422
        assert {"$.id", "$.address", "$.city"} <= set(answered.paths)
        assert not api.core.objects
        assert not api.core.asked

    run_api(test)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"a":NaN}', b'{"a":1,"a":2}', b'{"a":"\xff"}', b'{"a":' * 50_000])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_text_that_is_no_honest_json_is_malformed(method: str, text: bytes) -> None:
    async def test(api: Harness) -> None:
        answered = await api.send(method, TARIFFS, text)
        assert answered.status == 422, answered.body[:300]
        assert answered.paths
        assert not api.core.objects

    run_api(test)


def test_an_object_beyond_256_kib_is_413() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("PUT", TARIFFS, a_tariff(note="x" * 262_144))
        assert (answered.status, answered.json["code"]) == (413, "too-large")
        padded = json.dumps(TARIFF).encode() + b" " * 300_000
        assert (await api.send("PUT", TARIFFS, padded)).status == 201

    run_api(test)


def test_an_unknown_ocpi_version_is_a_fault_and_a_known_one_is_kept() -> None:
    async def test(api: Harness) -> None:
        refused = await api.send("PUT", TARIFFS, TARIFF, headers={"OCPI-Version": "2.1.1"})
        assert (refused.status, refused.paths) == (422, ["OCPI-Version"])
        put = await api.send("PUT", TARIFFS, TARIFF, headers={"OCPI-Version": "2.2.1"})
        assert put.headers["OCPI-Version"] == "2.2.1"
        assert (await api.send("GET", TARIFFS)).headers["OCPI-Version"] == "2.2.1"

    run_api(test)


def test_warnings_are_told_in_a_header_and_the_object_is_stored() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("PUT", "/v1/user-credentials/04E2A1B2C3D480", {**TOKEN, "whitelist": "SOMETIMES"})
        assert answered.status == 201
        told = json.loads(answered.headers["Roamd-Warnings"])
        assert told["count"] >= 1
        assert "$.whitelist" in [each["path"] for each in told["first"]]
        plain = await api.send("PUT", TARIFFS, TARIFF)
        assert "Roamd-Warnings" not in plain.headers

    run_api(test)


def test_a_patch_is_merged() -> None:
    async def test(api: Harness) -> None:
        await api.send("PUT", TARIFFS, a_tariff(note="x"))
        answered = await api.send("PATCH", TARIFFS, {"note": None, "last_updated": "2026-11-23T00:00:00Z"})
        assert answered.status == 200
        assert answered.json == a_tariff(last_updated="2026-11-23T00:00:00Z")
        assert (await api.send("PATCH", "/v1/tariffs/none", {})).status == 404

    run_api(test)


def test_an_evse_status_is_whole_by_itself_and_other_patches_pass_as_they_are() -> None:
    async def test(api: Harness) -> None:
        await api.send("PUT", "/v1/locations/LOC1", LOCATION)
        path = "/v1/locations/LOC1/evses/3256"
        answered = await api.send("PATCH", path, {"status": "CHARGING"})
        assert (answered.status, answered.json["status"]) == (200, "CHARGING")
        assert answered.json["last_updated"].endswith("Z")
        assert (await api.send("PATCH", path, {"floor_level": "-1"})).status == 200
        assert (await api.send("PATCH", path, {"status": 5})).paths == ["$.status"]
        assert (await api.send("PATCH", path, {"status": "CHARGING"}, headers={"If-Match": "*"})).status == 422
        assert (await api.send("PATCH", "/v1/locations/LOC1/evses/none", {"status": "CHARGING"})).status == 404
        patches = [json.loads(each.patch) for each in operations_of(api.core, PatchEvse)]
        assert patches[1] == {"floor_level": "-1"}

    run_api(test)


def test_party_and_type_tell_apart_what_shares_an_id() -> None:
    async def test(api: Harness) -> None:
        uid = TOKEN["uid"]
        await api.send("PUT", f"/v1/user-credentials/{uid}", TOKEN)
        await api.send("PUT", f"/v1/user-credentials/{uid}", {**TOKEN, "type": "OTHER"})
        assert (await api.send("GET", f"/v1/user-credentials/{uid}")).status == 409
        got = await api.send("GET", f"/v1/user-credentials/{uid}?type=OTHER&party=DE*ABC")
        assert got.json["type"] == "OTHER"
        assert operations_of(api.core, GetObject)[-1].party == "DEABC"
        assert (await api.send("GET", f"/v1/user-credentials/{uid}?party=nonsense")).paths == ["party"]
        assert (await api.send("DELETE", f"/v1/user-credentials/{uid}?type=RFID")).status == 204
        assert operations_of(api.core, DeleteObject)[-1].token_type == "RFID"

    run_api(test)


def test_an_id_with_odd_characters_arrives_as_it_was_meant() -> None:
    async def test(api: Harness) -> None:
        await api.send("PUT", "/v1/tariffs/a%2Fb%20%C3%A4", a_tariff(id="a/b \u00e4"))
        assert (await api.send("GET", "/v1/tariffs/A%2fB%20%C3%84")).status == 200

    run_api(test)


def test_lists_come_in_pages() -> None:
    async def test(api: Harness) -> None:
        for name in ("A", "B", "C"):
            await api.send("PUT", f"/v1/tariffs/{name}", a_tariff(id=name))
        first = (await api.send("GET", "/v1/tariffs?limit=2")).json
        assert [each["id"] for each in first["items"]] == ["A", "B"]
        rest = (await api.send("GET", f"/v1/tariffs?limit=5000&after={first['next']}")).json
        assert ([each["id"] for each in rest["items"]], rest["next"]) == (["C"], None)
        for wrong in ("0", "-1", "x", "1.5", "99999999999"):
            assert (await api.send("GET", f"/v1/tariffs?limit={wrong}")).paths == ["limit"]

    run_api(test)


def test_what_a_peer_publishes_is_read_like_our_own() -> None:
    async def test(api: Harness) -> None:
        api.core.theirs["xyz", "locations", "L1"] = StoredObject(b'{"id":"L1"}', '"7"', "2.2.1")
        got = await api.send("GET", "/v1/peers/xyz/locations/L1")
        assert (got.body, got.headers["ETag"], got.headers["OCPI-Version"]) == (b'{"id":"L1"}', '"7"', "2.2.1")
        assert (await api.send("GET", "/v1/peers/xyz/locations")).json == {"items": [{"id": "L1"}], "next": None}
        assert (await api.send("GET", "/v1/peers/xyz/locations/L1", headers={"If-None-Match": '"7"'})).status == 304
        assert (await api.send("GET", "/v1/peers/x_z/locations")).status == 404
        assert (await api.send("GET", "/v1/peers/xyz/evse-status")).status == 404
        assert (await api.send("PUT", "/v1/peers/xyz/locations/L1", {})).status == 405

    run_api(test)


def test_our_contract_is_told_beside_a_session_that_names_it_otherwise() -> None:
    async def test(api: Harness) -> None:
        api.core.theirs["xyz", "sessions", "S1"] = StoredObject(b"{}", '"7"', "2.2.1", contract_id="FR-XYZ-é 1")
        got = await api.send("GET", "/v1/peers/xyz/sessions/S1")
        assert (got.body, got.headers["Roamd-Contract-Id"]) == (b"{}", "FR-XYZ-%C3%A9%201")

    run_api(test)


# --- batches ------------------------------------------------------------------------------------------------------


def lines(*bodies: Any) -> bytes:
    return b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in bodies)


def test_a_batch_stores_good_lines_and_reports_faulty_ones_by_number() -> None:
    async def test(api: Harness) -> None:
        await api.send("PUT", TARIFFS, TARIFF)
        text = lines(
            TARIFF, b"", a_tariff(id="T2"), b"{broken", a_tariff(id="T3", currency=5), b"\r", a_tariff(id="T4")
        )
        answered = await api.send("POST", "/v1/tariffs/batch", text)
        assert answered.status == 422
        told = answered.json
        assert (told["stored"], told["created"], told["unchanged"], told["failed_count"]) == (3, 2, 1, 2)
        assert [each["line"] for each in told["failed"]] == [4, 5]
        assert told["failed"][1]["problem"]["faults"][0]["path"] == "$.currency"
        assert {key[2] for key in api.core.objects} == {"T1", "T2", "T4"}

    run_api(test)


def test_a_batch_of_many_goes_in_groups_and_is_200() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/tariffs/batch", lines(*(a_tariff(id=f"T{n}") for n in range(2500))))
        assert answered.status == 200
        assert (answered.json["lines"], answered.json["created"]) == (2500, 2500)
        assert [len(each.checked) for each in operations_of(api.core, PutObjects)] == [1000, 1000, 500]

    run_api(test)


def test_a_line_that_is_far_too_long_is_not_kept_and_the_next_one_is_read() -> None:
    async def test(api: Harness) -> None:
        text = lines(b'{"x":"' + b"y" * 2_000_000 + b'"}', TARIFF, b"z" * 700_000)
        answered = await api.send("POST", "/v1/tariffs/batch", text)
        assert [(each["line"], each["problem"]["status"]) for each in answered.json["failed"]] == [(1, 413), (3, 413)]
        assert answered.json["stored"] == 1

    run_api(test)


def test_a_batch_may_be_larger_than_other_bodies() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send(
            "POST", "/v1/tariffs/batch", lines(*(a_tariff(note="x" * 200_000) for _ in range(45)))
        )
        assert answered.status == 200
        assert (answered.json["created"], answered.json["unchanged"]) == (1, 44)

    run_api(test)


def test_a_full_disk_ends_a_batch_with_507() -> None:
    async def test(api: Harness) -> None:
        api.core.refuse_with = StoreFull("The disk is full.")
        answered = await api.send("POST", "/v1/tariffs/batch", lines(TARIFF, a_tariff(id="T2")))
        assert answered.status == 507
        assert [each["line"] for each in answered.json["failed"]] == [1, 2]
        assert answered.json["stored"] == 0

    run_api(test)


def test_a_line_that_contradicts_what_is_stored_takes_no_good_ones_along() -> None:
    core = FakeCore()
    put_one = core._store

    def judged(key: Any, checked: Any) -> Any:
        if checked.key.id == "T2":
            raise Conflict("The session cannot have become this.", code="impossible-change")
        return put_one(key, checked)

    core._store = judged  # type: ignore[method-assign]

    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/tariffs/batch", lines(TARIFF, a_tariff(id="T2"), a_tariff(id="T3")))
        assert answered.status == 422
        assert [(each["line"], each["problem"]["code"]) for each in answered.json["failed"]] == [
            (2, "impossible-change")
        ]
        assert (answered.json["stored"], answered.json["failed_count"]) == (2, 1)
        assert [[one.key.id for one in each.checked] for each in operations_of(core, PutObjects)] == [
            ["T1", "T2", "T3"], ["T1"], ["T2"], ["T3"],
        ]  # fmt: skip

    run_api(test, core=core)


def test_a_batch_under_the_same_key_is_done_once() -> None:
    async def test(api: Harness) -> None:
        key = {"Idempotency-Key": "b-1"}
        first = await api.send("POST", "/v1/tariffs/batch", lines(TARIFF), headers=key)
        again = await api.send("POST", "/v1/tariffs/batch", lines(TARIFF), headers=key)
        assert first.json == again.json
        other = await api.send("POST", "/v1/tariffs/batch", lines(a_tariff(id="T9")), headers=key)
        assert other.json["failed"][0]["problem"]["code"] == "idempotency-key-reused"

    run_api(test)


@pytest.mark.parametrize("feed", sorted(OBJECTS))
def test_every_feed_has_its_collection(feed: str) -> None:
    async def test(api: Harness) -> None:
        assert (await api.send("POST", f"/v1/{feed}/batch", lines(OBJECTS[feed]))).json["created"] == 1
        assert len((await api.send("GET", f"/v1/{feed}")).json["items"]) == 1

    run_api(test)
