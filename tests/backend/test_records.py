"""/v1/records."""

import json
from base64 import b64decode
from typing import Any

import pytest

from roamd.backend.examples import SERVICE_RECORD
from roamd.errors import StoreFull
from roamd.roaming.operations import GetRecord, ListRecords, PostRecords, RetryRecord
from tests.support.api import Harness, run_api
from tests.support.core import operations_of


def a_record(name: str = "R1", **changes: Any) -> dict[str, Any]:
    return {**SERVICE_RECORD, "id": name, **changes}


def test_a_record_is_taken_and_can_be_read_with_its_own_text() -> None:
    async def test(api: Harness) -> None:
        text = json.dumps(a_record(), indent=2).replace("2.0", "2.00").encode()
        answered = await api.send("POST", "/v1/records", text)
        assert answered.status == 202
        assert (answered.json["record_id"], answered.json["state"], answered.json["peer"]) == ("R1", "QUEUED", "xyz")
        got = await api.send("GET", "/v1/records/R1?party=DE*ABC&direction=out")
        assert b'"price":2.00' in got.body
        assert operations_of(api.core, GetRecord)[-1] == GetRecord("R1", "DEABC", "out")

    run_api(test)


def test_an_array_is_committed_together_and_answered_in_order() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/records?peer=abc", [a_record("A"), a_record("PARKED"), a_record("B")])
        assert answered.status == 202
        assert [(each["record_id"], each["state"]) for each in answered.json] == [
            ("A", "QUEUED"), ("PARKED", "PARKED"), ("B", "QUEUED")]  # fmt: skip
        assert answered.json[1]["peer"] is None
        (asked,) = operations_of(api.core, PostRecords)
        assert asked.peer == "abc"
        assert (await api.send("POST", "/v1/records", [])).json == []

    run_api(test)


def test_one_malformed_element_refuses_the_whole_array() -> None:
    async def test(api: Harness) -> None:
        bad = [a_record("A"), a_record("B", currency=5, party_id="ZZZ"), a_record("C", kind="XDR"), 3]
        answered = await api.send("POST", "/v1/records", bad)
        assert answered.status == 422
        assert {"$[1].currency", "$[2].kind", "$[3]"} <= set(answered.paths)
        assert any((path.startswith("$[1]") and "party" in path) or path == "$[1]" for path in answered.paths)
        assert not api.core.asked

    run_api(test)


def test_a_foreign_owner_is_refused() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/records", a_record(party_id="ZZZ"))
        assert answered.status == 422
        assert not api.core.records

    run_api(test)


@pytest.mark.parametrize("text", [b"", b"[", b"[{]", b"nonsense", b'[{"a":NaN}]', b'{"id":1,"id":2}', b"[" * 100_000,
                                  b'["\xff"]', b"[" + b"[" * 100_000])  # fmt: skip
def test_text_that_is_no_honest_json_is_malformed(text: bytes) -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/records", text)
        assert answered.status == 422, answered.body
        assert answered.paths[0].startswith("$")

    run_api(test)


def test_the_same_id_with_other_content_is_409_and_with_the_same_the_same() -> None:
    async def test(api: Harness) -> None:
        first = await api.send("POST", "/v1/records", a_record())
        again = await api.send("POST", "/v1/records", json.dumps(a_record(), indent=1).encode())
        assert first.json == again.json
        assert (await api.send("POST", "/v1/records", a_record(currency="CHF"))).status == 409

    run_api(test)


def test_the_key_covers_where_it_goes_as_well_as_what() -> None:
    async def test(api: Harness) -> None:
        key = {"Idempotency-Key": "r-1"}
        await api.send("POST", "/v1/records?peer=abc", a_record(), headers=key)
        assert (await api.send("POST", "/v1/records?peer=abc", a_record(), headers=key)).status == 202
        assert (await api.send("POST", "/v1/records?peer=xyz", a_record(), headers=key)).status == 409

    run_api(test)


def test_warnings_stand_in_the_answer() -> None:
    async def test(api: Harness) -> None:
        token = {**SERVICE_RECORD["cdr_token"], "type": "CARRIER_PIGEON"}
        answered = await api.send("POST", "/v1/records", [a_record("A"), a_record("B", cdr_token=token)])
        assert answered.status == 202
        assert "warnings" not in answered.json[0]
        assert answered.json[1]["warnings"][0]["path"] == "$[1].cdr_token.type"

    run_api(test)


def test_a_list_can_be_narrowed() -> None:
    async def test(api: Harness) -> None:
        await api.send("POST", "/v1/records", [a_record("A"), a_record("PARKED"), a_record("B")])
        assert [each["record_id"] for each in (await api.send("GET", "/v1/records?limit=2")).json["items"]] == [
            "A",
            "B",
        ]
        parked = (await api.send("GET", "/v1/records?state=PARKED")).json
        assert [each["record_id"] for each in parked["items"]] == ["PARKED"]
        await api.send("GET", "/v1/records?peer=xyz&direction=in&after=X&limit=9999")
        assert operations_of(api.core, ListRecords)[-1] == ListRecords("X", 1000, None, "xyz", "in")
        for wrong in ("state=LOST", "peer=A_B", "direction=up"):
            assert (await api.send("GET", f"/v1/records?{wrong}")).paths == [wrong.split("=")[0]]

    run_api(test)


def test_parked_records_are_retried_rerouted_and_dropped() -> None:
    async def test(api: Harness) -> None:
        await api.send("POST", "/v1/records", [a_record(f"PARKED-{n}") for n in range(3)] + [a_record("A")])
        assert (await api.send("POST", "/v1/records/PARKED-0/retry")).json["state"] == "QUEUED"
        assert (await api.send("POST", "/v1/records/PARKED-1/reroute", {"peer": "abc"})).json["peer"] == "abc"
        assert operations_of(api.core, RetryRecord)[-1].peer == "abc"
        assert (await api.send("POST", "/v1/records/PARKED-1/reroute", {})).status == 422
        assert (await api.send("POST", "/v1/records/PARKED-1/reroute", {"peer": "A B"})).paths == ["peer"]
        assert (await api.send("POST", "/v1/records/PARKED-2/drop")).status == 200
        assert (await api.send("POST", "/v1/records/A/drop")).status == 409
        assert (await api.send("POST", "/v1/records/none/retry")).status == 404

    run_api(test)


def test_a_retry_under_the_same_key_is_done_once() -> None:
    async def test(api: Harness) -> None:
        await api.send("POST", "/v1/records", a_record("PARKED"))
        key = {"Idempotency-Key": "again"}
        first = await api.send("POST", "/v1/records/PARKED/retry", headers=key)
        again = await api.send("POST", "/v1/records/PARKED/retry", headers=key)
        assert (first.status, first.body) == (again.status, again.body)
        assert (await api.send("POST", "/v1/records/PARKED/retry?party=DE*ABC", headers=key)).status == 409
        assert len(operations_of(api.core, RetryRecord)) == 1

    run_api(test)


def test_evidence_comes_as_files() -> None:
    async def test(api: Harness) -> None:
        await api.send("POST", "/v1/records", a_record())
        files = (await api.send("GET", "/v1/records/R1/evidence")).json["files"]
        assert b64decode(files["head.der"]) == b"\x30\x00"
        assert json.loads(b64decode(files["body.json"])) == a_record()

    run_api(test)


def test_evidence_as_one_file_comes_byte_for_byte() -> None:
    async def test(api: Harness) -> None:
        await api.send("POST", "/v1/records", a_record())
        answer = await api.send("GET", "/v1/records/R1/evidence?form=bundle")
        assert answer.body == b'{\n "format": "roamd evidence 1"\n}\n'
        assert (await api.send("GET", "/v1/records/R1/evidence?form=zip")).status == 422

    run_api(test)


def test_a_full_disk_is_507() -> None:
    async def test(api: Harness) -> None:
        api.core.refuse_with = StoreFull("The disk is full.")
        answered = await api.send("POST", "/v1/records", a_record())
        assert (answered.status, answered.json["code"]) == (507, "store-full")

    run_api(test)
