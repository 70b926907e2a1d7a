"""Accept, dispute, close and credit at the API."""

import json
from typing import Any

import pytest

from roamd.backend.examples import CREDIT, SERVICE_RECORD
from roamd.roaming.operations import CreditRecord, JudgeRecord
from tests.support.api import Harness, run_api
from tests.support.core import operations_of

ID = SERVICE_RECORD["id"]


def test_a_dispute_reaches_the_core_with_its_evidence() -> None:
    async def test(api: Harness) -> None:
        await api.send("POST", "/v1/records", SERVICE_RECORD)
        body = {"reason": "price", "detail": "too much", "evidence": ["1 h x 2 = 2.00"]}
        answered = await api.send("POST", f"/v1/records/{ID}/dispute?party=DE*ABC", body)
        assert (answered.status, answered.json["state"]) == (200, "DISPUTED")
        assert operations_of(api.core, JudgeRecord) == [
            JudgeRecord(ID, "DISPUTED", "DEABC", "price", "too much", ("1 h x 2 = 2.00",))
        ]

    run_api(test)


def test_accepting_needs_no_body() -> None:
    async def test(api: Harness) -> None:
        await api.send("POST", "/v1/records", SERVICE_RECORD)
        assert (await api.send("POST", f"/v1/records/{ID}/accept")).json["state"] == "ACCEPTED"

    run_api(test)


def test_a_credit_keeps_its_own_text_and_brings_its_replacement() -> None:
    async def test(api: Harness) -> None:
        await api.send("POST", "/v1/records", SERVICE_RECORD)
        credit = json.dumps(CREDIT).replace("-3.0", "-3.00")
        body = f'{{"credit": {credit}, "replacement": {json.dumps({**SERVICE_RECORD, "id": "SDR-2"})}}}'
        assert (await api.send("POST", f"/v1/records/{ID}/credit", body.encode())).json["state"] == "CREDITED"
        (asked,) = operations_of(api.core, CreditRecord)
        assert b'"before_taxes":-3.00' in asked.credit.body
        assert asked.replacement is not None
        assert (asked.credit.credit_reference_id, asked.replacement.id) == (ID, "SDR-2")

    run_api(test)


@pytest.mark.parametrize(
    ("what", "body", "paths"),
    [
        ("dispute", {}, ["$"]),
        ("dispute", {"reason": "", "detail": "x"}, ["$.reason"]),
        ("dispute", {"reason": "price", "evidence": ["x" * 501]}, ["$.evidence[0]"]),
        ("accept", {"detail": 5}, ["$.detail"]),
        ("credit", {}, ["$.credit"]),
        ("credit", [], ["$"]),
        ("credit", {"credit": {**CREDIT, "currency": 5}}, ["$.credit.currency"]),
        ("credit", {"credit": CREDIT, "replacement": {**CREDIT, "party_id": "ZZZ"}}, ["$.replacement.party_id"]),
    ],
)
def test_bad_input_is_named_by_its_path(what: str, body: Any, paths: list[str]) -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("POST", f"/v1/records/{ID}/{what}", body)
        assert (answered.status, answered.paths) == (422, paths)
        assert not api.core.asked

    run_api(test)
