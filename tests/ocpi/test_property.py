"""Every operation of the face's OpenAPI document, with bodies and parameters that nobody should send.

Whatever comes, the answer stands in an envelope, is no 5xx, is no redirect, and repeats no token.
"""

import asyncio
import json
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roamd.backend.ocpi.openapi import face_document
from tests.model import bodies
from tests.model.bodies import text
from tests.support.core import FakeCore
from tests.support.ocpi import FIRST, PEER, Desk, run_ocpi

DOCUMENT = json.loads(face_document())
OPERATIONS = [(method.upper(), path, told) for path, item in DOCUMENT["paths"].items() for method, told in item.items()]
SANE = {"country_code": "DE", "party_id": "ABC", "id": "Loc-1", "evse_uid": "E1", "connector_id": "1"}
ODD = st.one_of(
    st.sampled_from(["", "x" * 300, "%00", "\x00", "ü", "..", "a/b", "*", "-1", "9" * 40, "None", "2026-13-40", "+"]),
    st.text(max_size=8),
)
WHOLE = [
    bodies.location(),
    bodies.tariff(),
    bodies.session(),
    bodies.token(),
    bodies.cdr(),
    {"location_id": "Loc-1", "evse_uids": ["E1"]},
    {"token": "x", "url": "http://127.0.0.1:1/versions", "roles": []},
    {"response_url": "http://127.0.0.1:1/result", "token": bodies.token(), "location_id": "Loc-1"},
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A whole object with one field replaced or gone, any JSON, or no JSON at all."""
    kind = draw(st.sampled_from(["whole", "field", "gone", "json", "bytes"]))
    if kind == "json":
        return json.dumps(draw(JSON)).encode("utf-8", "surrogatepass")
    if kind == "bytes":
        return draw(st.binary(max_size=40))
    value: dict[str, Any] = dict(draw(st.sampled_from(WHOLE)))
    name = draw(st.sampled_from(sorted(value)))
    if kind == "field":
        value[name] = draw(JSON)
    elif kind == "gone":
        del value[name]
    return text(value)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, str], bytes | None]:
    method, path, told = draw(st.sampled_from(OPERATIONS))
    query, headers = {}, {}
    for parameter in told["parameters"]:
        name, place = parameter["name"], parameter["in"]
        value = draw(ODD) if draw(st.integers(0, 3)) == 0 else SANE.get(name, "1")
        if place == "path":
            path = path.replace(f"{{{name}}}", quote(value, safe="") or "_")
        elif place == "query" and draw(st.booleans()):
            query[name] = value
        elif place == "header" and draw(st.booleans()):
            headers[name] = "".join(c for c in value if c.isprintable() and c.isascii()) or "FR"
    body = draw(spoiled()) if "requestBody" in told else None
    return method, f"{path}?{urlencode(query)}", headers, body


async def judge(desk: Desk, asked: tuple[str, str, dict[str, str], bytes | None]) -> None:
    method, path, headers, body = asked
    answered = await desk.send(method, path, body, headers=headers)
    assert 200 <= answered.status < 300 or 400 <= answered.status < 500, (asked, answered.status, answered.body)
    envelope = answered.json
    assert "status_code" in envelope, (asked, answered.status, answered.body)
    assert 1000 <= envelope["status_code"] < 5000, (asked, answered.body)
    assert envelope["timestamp"].endswith("Z"), asked
    assert desk.token.encode() not in answered.body or path.startswith(("/2.2.1/cred", "/2.3.0/cred")), asked


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(requests(), min_size=20, max_size=60))
def test_whatever_is_asked_is_answered_in_an_envelope_and_never_by_a_5xx(
    asked: list[tuple[str, str, dict[str, str], bytes | None]],
) -> None:
    core = FakeCore()
    core.partners = [PEER]

    async def test(desk: Desk) -> None:
        for one in asked:
            if "/credentials" in one[1] and one[0] != "GET":
                continue  # they change whose token is good; test_credentials has them
            async with asyncio.timeout(10):
                await judge(desk, one)

    run_ocpi(test, core=core, registered=True)


def test_every_documented_address_is_served_and_the_document_needs_no_token() -> None:
    core = FakeCore()
    core.partners = [PEER]

    async def test(desk: Desk) -> None:
        told = await desk.send("GET", "/openapi.json", token=None)
        assert (told.status, told.json) == (200, DOCUMENT)
        for method, path, _ in OPERATIONS:
            if not path.endswith("/credentials"):
                answered = await desk.send(method, path.format_map({**SANE, "command": "STOP_SESSION"}), b"{}")
                message = answered.json.get("status_message") or ""
                assert answered.status != 405, (method, path)
                assert "nothing at this address" not in message, (method, path)
        assert FIRST not in json.dumps(DOCUMENT)

    run_ocpi(test, core=core, registered=True)


def test_a_line_feed_in_an_address_is_the_faces_to_refuse() -> None:
    async def test(desk: Desk) -> None:
        answered = await desk.send("GET", "/emsp/2.2.1/tokens/a%0Ab/c")
        assert (answered.status, answered.json["status_code"]) == (404, 2003)

    run_ocpi(test, registered=True)
