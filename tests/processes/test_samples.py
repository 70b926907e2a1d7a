"""Every real object that its model accepts goes from one company to the other, through the real API, unchanged."""

import http.client
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from roamd.model.body import compact
from tests.model.samples import FEED_OF, REASON, Sample, samples
from tests.processes.conftest import Pair
from tests.support.daemons import Company

GOOD = [sample for sample in samples() if not sample.defects]

pytestmark = pytest.mark.skipif(not GOOD, reason=REASON)


def raw(company: Company, path: str) -> bytes | None:
    """The bytes of a GET, None while there is nothing."""
    connection = http.client.HTTPConnection(company.api.address, timeout=10)
    try:
        connection.request("GET", path, headers=company.authorization)
        response = connection.getresponse()
        data = response.read()
        return data if response.status == 200 else None
    finally:
        connection.close()


def number_texts(value: bytes) -> list[str]:
    found: list[str] = []
    json.loads(value, parse_float=found.append, parse_int=found.append)
    return found


def with_decimals(value: bytes) -> Any:
    return json.loads(value, parse_float=Decimal)


def publish(pair: Pair, sample: Sample) -> bytes:
    """Hand the object in where it belongs, wait for it at the other side; what arrived."""
    body = json.loads(sample.data)
    owner, follower = (pair.csp, pair.cso) if sample.kind == "Token" else (pair.cso, pair.csp)
    label = follower.partners[owner.name]
    version = {"OCPI-Version": sample.ocpi}
    if sample.kind == "CDR":
        return hand_in(pair, sample, body)
    name = body["uid" if sample.kind == "Token" else "id"]
    feed, which = FEED_OF[sample.kind], f"?party={body['country_code']}*{body['party_id']}"
    which += f"&type={body['type']}" if sample.kind == "Token" else ""
    reply = owner.api.request("PUT", f"/v1/{feed}/{name}", sample.data, version)
    assert reply.status in (200, 201), reply.body
    sent = raw(owner, f"/v1/{feed}/{name}{which}")
    path = f"/v1/peers/{label}/{feed}/{name}{which}"
    return wait_for(pair, path, lambda: found if (found := raw(follower, path)) == sent else None)


def hand_in(pair: Pair, sample: Sample, body: Any) -> bytes:
    peer, party = pair.cso.partners["csp"], f"{body['country_code']}*{body['party_id']}"
    reply = pair.cso.api.request("POST", f"/v1/records?peer={peer}", sample.data, {"OCPI-Version": sample.ocpi})
    assert reply.status == 202, reply.body
    assert reply.body["peer"] == peer
    path = f"/v1/records/{body['id']}?direction=in&party={party}"
    answer = wait_for(pair, path, lambda: raw(pair.csp, path))
    start = answer.index(b'"record":') + len(b'"record":')
    _, end = json.JSONDecoder().raw_decode(answer[start:].decode())
    return answer[start:].decode()[:end].encode()


def wait_for(pair: Pair, path: str, look: Callable[[], bytes | None]) -> bytes:
    return pair.fleet.wait_until(f"{path} arriving", look)


@pytest.mark.parametrize("sample", GOOD, ids=lambda sample: sample.name)
def test_a_whole_object_arrives_byte_for_byte_as_it_was_handed_in(pair: Pair, sample: Sample) -> None:
    if sample.kind == "EVSE":
        pytest.skip("an EVSE travels within its location")
    arrived = publish(pair, sample)
    assert arrived == compact(sample.data)
    assert number_texts(arrived) == number_texts(sample.data)
    assert with_decimals(arrived) == with_decimals(sample.data)
