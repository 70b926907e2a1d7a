"""POST /v1/authorizations."""

import json
from typing import Any

import pytest

from roamd.backend.authorizations import parse_authorization
from roamd.errors import Malformed
from roamd.roaming.operations import Authorize, CredentialIn, PlaceIn
from tests.support.api import Harness, run_api
from tests.support.core import operations_of

GOOD = {"credential": {"type": "RFID", "uid": "04AB"}}


def test_a_question_is_asked_as_it_was_put() -> None:
    body = {
        "credential": {"type": "RFID", "uid": "04AB", "contract_id": "DE-ABC-1", "unknown": 1},
        "location": {"location_id": "L", "evse_uid": "E", "connector_id": "1"},
        "service": "PARKING",
        "deadline_ms": 100,
        "unknown": [],
    }
    asked = parse_authorization(json.dumps(body).encode(), 3000)
    assert asked == Authorize(CredentialIn("RFID", "04AB", "DE-ABC-1"), PlaceIn("L", "E", "1"), "PARKING", 100)
    assert parse_authorization(json.dumps(GOOD).encode(), 2500) == Authorize(
        CredentialIn("RFID", "04AB"), deadline_ms=2500
    )


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({}, ["$.credential"]),
        ([], ["$"]),
        (5, ["$"]),
        ({"credential": []}, ["$.credential"]),
        ({"credential": {}}, ["$.credential.type", "$.credential.uid"]),
        ({"credential": {"type": 1, "uid": None, "contract_id": 2}, "location": {}, "service": "X", "deadline_ms": "1"},
         ["$.credential.type", "$.credential.uid", "$.credential.contract_id", "$.location.location_id", "$.service",
          "$.deadline_ms"]),
        ({"credential": {"type": "RFID", "uid": ""}}, ["$.credential.uid"]),
        ({"credential": {"type": "RFID", "uid": "x" * 37}}, ["$.credential.uid"]),
        ({"credential": {"type": "RFID", "uid": "x", "contract_id": "x" * 37}}, ["$.credential.contract_id"]),
        ({**GOOD, "location": {"location_id": "L", "evse_uid": "x" * 37}}, ["$.location.evse_uid"]),
        ({**GOOD, "location": "L"}, ["$.location"]),
        ({**GOOD, "deadline_ms": 99}, ["$.deadline_ms"]),
        ({**GOOD, "deadline_ms": 0}, ["$.deadline_ms"]),
        ({**GOOD, "deadline_ms": 30001}, ["$.deadline_ms"]),
        ({**GOOD, "deadline_ms": True}, ["$.deadline_ms"]),
        ({**GOOD, "service": None}, ["$.service"]),
        ({**GOOD, "service": ""}, ["$.service"]),
    ],
)  # fmt: skip
def test_every_fault_is_named_with_its_path(body: Any, paths: list[str]) -> None:
    with pytest.raises(Malformed) as caught:
        parse_authorization(json.dumps(body).encode(), 3000)
    assert [fault.path for fault in caught.value.faults] == paths


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"credential":{"type":"RFID","uid":"A","uid":"B"}}',
        b'{"credential":{"type":"RFID","uid":"A","\\u0075id":"B"}}',
        b'{"credential":{"type":"RFID","uid":"A","contract_id":"B","contract_id":null}}',
        b'{"credential":{"type":"RFID","uid":"A"},"deadline_ms":1000,"deadline_ms":2000}',
        b'{"credential":{"type":"RFID","uid":"A"},"service":"PARKING","service":"CHARGING"}',
        b'{"credential":{"type":"RFID","uid":"A"},"credential":{"type":"RFID","uid":"B"},"own":"uid"}',
        b'{"credential":{"type":"RFID","uid":"A"},"deadline_ms":NaN}',
        b'{"credential":{"type":"RFID","uid":"\xff"}}',
        b'\xef\xbb\xbf{"credential":{"type":"RFID","uid":"A"}}',
        b"[" * 16_000,
        b'{"a":' * 3_000,
    ],
)
def test_text_that_is_no_honest_json_is_malformed(text: bytes) -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/authorizations", text)
        assert answered.status == 422, answered.body
        assert answered.json["code"] == "malformed"
        assert answered.paths
        assert not api.core.asked

    run_api(test)


def test_a_value_that_looks_like_a_key_is_no_duplicate() -> None:
    text = b'{"credential":{"type":"RFID","uid":"uid","contract_id":"type"}}'
    assert parse_authorization(text, 3000).credential == CredentialIn("RFID", "uid", "type")
    escaped = b'{"credential":{"type":"RFID","uid":"\\u0041"}}'
    assert parse_authorization(escaped, 3000).credential.uid == "A"


def test_the_decision_is_given_back() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/authorizations", GOOD)
        assert answered.status == 200
        told = answered.json
        assert (told["decision"], told["source"], told["asked"]) == ("ALLOWED", "WHITELIST", ["xyz"])
        assert "valid_until" not in told

    run_api(test)


def test_an_array_is_answered_in_order() -> None:
    async def test(api: Harness) -> None:
        uids = ["01", "DEAD", "02"]
        bodies = [{"credential": {"type": "RFID", "uid": uid}} for uid in uids]
        answered = await api.send("POST", "/v1/authorizations", bodies)
        assert [each["decision"] for each in answered.json] == ["ALLOWED", "NOT_ALLOWED", "ALLOWED"]
        assert (await api.send("POST", "/v1/authorizations", b" [ ] ")).json == []

    run_api(test)


def test_one_malformed_element_refuses_the_whole_array() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/authorizations", [GOOD, {"credential": {"type": "RFID"}}, 7])
        assert answered.status == 422
        assert answered.paths == ["$[1].credential.uid", "$[2]"]
        assert not api.core.asked

    run_api(test)


def test_at_most_a_thousand_are_taken_at_a_time() -> None:
    async def test(api: Harness) -> None:
        assert len((await api.send("POST", "/v1/authorizations", [GOOD] * 1000)).json) == 1000
        answered = await api.send("POST", "/v1/authorizations", [GOOD] * 1001)
        assert answered.status == 422
        assert answered.json["faults"][0]["code"] == "too-many"

    run_api(test)


def test_the_same_key_gives_the_same_answer_and_another_body_409() -> None:
    async def test(api: Harness) -> None:
        key = {"Idempotency-Key": "k-1"}
        first = await api.send("POST", "/v1/authorizations", GOOD, headers=key)
        again = await api.send("POST", "/v1/authorizations", GOOD, headers=key)
        assert first.json["authorization_id"] == again.json["authorization_id"]
        other = await api.send("POST", "/v1/authorizations", {"credential": {"type": "RFID", "uid": "9"}}, headers=key)
        assert (other.status, other.json["code"]) == (409, "idempotency-key-reused")

    run_api(test)


def test_each_element_of_an_array_has_a_key_of_its_own() -> None:
    async def test(api: Harness) -> None:
        await api.send("POST", "/v1/authorizations", [GOOD, GOOD], headers={"Idempotency-Key": "k"})
        keys = [each.idempotency.key for each in operations_of(api.core, Authorize)]
        assert keys == ["k", "k#1"]

    run_api(test)


@pytest.mark.parametrize("key", ["x" * 256, "", "\u00fc"])
def test_a_key_that_cannot_be_one_is_malformed(key: str) -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/authorizations", GOOD, headers={"Idempotency-Key": key})
        assert answered.status == 422
        assert answered.paths == ["Idempotency-Key"]

    run_api(test)


def test_the_trace_context_travels_if_it_is_one() -> None:
    async def test(api: Harness) -> None:
        good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await api.send("POST", "/v1/authorizations", GOOD, headers={"traceparent": good})
        await api.send("POST", "/v1/authorizations", GOOD, headers={"traceparent": "nonsense"})
        assert [each.traceparent for each in operations_of(api.core, Authorize)] == [good, None]

    run_api(test)
