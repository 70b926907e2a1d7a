"""Whatever is sent to the face: an answer in an envelope, never a 5xx, never a redirect, never a token in a log."""

import asyncio
import gzip
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roamd.backend.examples import LOCATION, SESSION, TARIFF, TOKEN
from tests.model import bodies
from tests.support.api import Answered
from tests.support.core import FakeCore
from tests.support.ocpi import FIRST, PEER, THEIRS, Desk, run_ocpi

RESULTS = "http://127.0.0.1:1/results"
LIMIT = {"duration": 60, "charging_rate_unit": "W", "charging_profile_period": [{"start_period": 0, "limit": 7.5}]}
TARGETS = [
    ("POST", "/2.2.1/credentials", {"token": THEIRS, "url": "http://127.0.0.1:1/", "roles": []}),
    ("PUT", "/2.3.0/credentials", {"token": THEIRS, "url": "http://127.0.0.1:1/", "roles": []}),
    ("PUT", "/emsp/2.2.1/locations/DE/ABC/LOC1", LOCATION),
    ("PATCH", "/emsp/2.2.1/locations/DE/ABC/LOC1", LOCATION),
    ("PUT", "/emsp/2.2.1/locations/DE/ABC/LOC1/3256", LOCATION["evses"][0]),
    ("PATCH", "/emsp/2.2.1/locations/DE/ABC/LOC1/3256", LOCATION["evses"][0]),
    ("PUT", "/emsp/2.2.1/locations/DE/ABC/LOC1/3256/1", LOCATION["evses"][0]["connectors"][0]),
    ("PATCH", "/emsp/2.2.1/locations/DE/ABC/LOC1/3256/1", LOCATION["evses"][0]["connectors"][0]),
    ("PUT", "/emsp/2.3.0/tariffs/DE/ABC/T1", TARIFF),
    ("PATCH", "/emsp/2.3.0/sessions/DE/ABC/S1", {**SESSION, "charging_periods": [{"start_date_time": "x"}]}),
    ("PUT", "/cpo/2.2.1/tokens/DE/ABC/04E2A1B2C3D480", TOKEN),
    ("POST", "/emsp/2.3.0/cdrs", bodies.cdr(country_code="DE", party_id="ABC")),
    ("POST", "/cpo/2.2.1/commands/START_SESSION", {"token": TOKEN, "location_id": "L", "response_url": RESULTS}),
    (
        "POST",
        "/cpo/2.3.0/commands/RESERVE_NOW",
        {
            "token": TOKEN,
            "location_id": "L",
            "response_url": RESULTS,
            "reservation_id": "R",
            "expiry_date": "2026-11-22T14:00:00Z",
        },
    ),
    ("PUT", "/cpo/2.2.1/chargingprofiles/S1", {"charging_profile": LIMIT, "response_url": RESULTS}),
    ("PUT", "/cpo/2.2.1/sessions/S1/charging_preferences", {"profile_type": "FAST", "energy_need": 20}),
    ("POST", f"/emsp/2.2.1/commands/START_SESSION/{1:032x}", {"result": "FAILED", "message": [{"text": "no"}]}),
    ("POST", f"/emsp/2.2.1/commands/RESERVE_NOW/{1:032x}/R1", {"result": "ACCEPTED"}),
    ("POST", f"/emsp/2.2.1/chargingprofiles/GET_ACTIVE_PROFILE/{1:032x}", {"result": "ACCEPTED", "profile": LIMIT}),
    ("PUT", "/emsp/2.2.1/chargingprofiles/S1", {"start_date_time": "x", "charging_profile": LIMIT}),
    ("POST", "/emsp/2.2.1/tokens/04E2A1B2C3D480/authorize", {"location_id": "LOC1", "evse_uids": ["3256"]}),
]
WRONG: list[Any] = [None, -7, "\x00" * 300, [[]], {"a": {"b": []}}]


def judge(answered: Answered) -> None:
    assert answered.status < 500, answered.body
    assert answered.status // 100 != 3
    envelope = answered.json
    assert 1000 <= envelope["status_code"] < 5000
    assert envelope["timestamp"].endswith("Z")
    assert (answered.status < 300) == (envelope["status_code"] < 2000) or envelope["status_code"] >= 3000


def variants(value: Any) -> list[Any]:
    """The object with each of its places, at every depth, taken by something of a wrong type."""
    found: list[Any] = list(WRONG)
    if isinstance(value, dict):
        for key, inner in value.items():
            found += [{**value, key: each} for each in variants(inner)]
            found.append({k: v for k, v in value.items() if k != key})
    elif isinstance(value, list) and value:
        found += [[each, *value[1:]] for each in variants(value[0])]
    return found


async def ready(desk: Desk) -> None:
    """Registered, with the objects there that patches are for."""
    desk.core.partners = [PEER]
    await desk.register()
    for method, path, body in TARGETS:
        if method == "PUT" and "credentials" not in path and "3256" not in path:
            await desk.need("PUT", path, body)
    await desk.need("PUT", "/emsp/2.3.0/sessions/DE/ABC/S1", SESSION)


@pytest.mark.parametrize(("method", "path", "body"), TARGETS, ids=[f"{m} {p}" for m, p, _ in TARGETS])
def test_wrong_types_at_every_depth_are_answered_in_an_envelope(method: str, path: str, body: Any) -> None:
    sent = [json.dumps(each).encode() for each in variants(body)]

    async def test(desk: Desk) -> None:
        await ready(desk)
        for begin in range(0, len(sent), 16):
            for answered in await asyncio.gather(*(desk.send(method, path, each) for each in sent[begin : begin + 16])):
                judge(answered)

    run_ocpi(test)


NASTY = [
    b"[" * 1_048_576, b'{"a":' * 200_000, b'{"id":"a","id":"b"}', b"NaN", b"\xff\xfe\x00", b"\x00" * 1000, b'"\\ud800"',
    b"{}" * 9, b'{"last_updated":"2026-11-22T10:00:00Z","x":1e999999}', b"1" * 100_000, b'{"\\u0000":1}', b" ",
]  # fmt: skip


def test_texts_that_are_hardly_json_are_answered_in_an_envelope() -> None:
    async def test(desk: Desk) -> None:
        await ready(desk)
        for method, path, _ in TARGETS:
            for text in NASTY:
                judge(await desk.send(method, path, text))

    run_ocpi(test)


def test_a_body_that_is_too_large_or_unpacks_to_too_much_is_413_and_one_that_is_cut_400() -> None:
    async def test(desk: Desk) -> None:
        path = "/emsp/2.2.1/locations/DE/ABC/LOC1"
        await desk.register()
        assert (await desk.send("PUT", path, b" " * 9_000_000)).status == 413
        packed = {"Content-Encoding": "gzip"}
        for text, status in ((gzip.compress(b" " * 9_000_000), 413), (b"no gzip", 400), (gzip.compress(b"{}"), 400)):
            answered = await desk.send("PUT", path, text, headers=packed)
            assert answered.status == status
            judge(answered)

    run_ocpi(test)


METHODS = st.sampled_from(["GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"])
WORDS = ["ocpi", "cpo", "emsp", "2.2.1", "2.3.0", "versions", "credentials", "locations", "tokens", "cdrs", "DE", "ABC"]
SEGMENT = st.one_of(
    st.sampled_from([*WORDS, "authorize", "%00", "%2F", "%FF", "...", "", "LOC1"]),
    st.text(max_size=8).filter(lambda text: text not in (".", "..")),
)
QUERY = st.sampled_from(
    ["", "?offset=-1", "?limit=x", "?date_from=%00", "?type=%ff", "?date_to=9999-99-99", "?" + "a" * 50]
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(METHODS, st.lists(SEGMENT, max_size=7), QUERY, st.binary(max_size=60)), min_size=10))
def test_any_path_is_answered_in_an_envelope(requests: list[tuple[str, list[str], str, bytes]]) -> None:
    async def test(desk: Desk) -> None:
        desk.core.partners = [PEER]
        await desk.register()
        for method, segments, query, body in requests:
            path = "/" + "/".join(part.replace("?", "").replace("#", "") for part in segments)
            judge(await desk.send(method, path + query, body))

    run_ocpi(test, core=FakeCore())


def test_no_token_stands_in_a_log(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    async def test(desk: Desk) -> None:
        await desk.send("GET", "/versions", token="a-wrong-secret")
        token = await desk.register()
        await desk.send("POST", "/2.2.1/credentials", desk.backend.credentials())
        await desk.send("PUT", "/2.2.1/credentials", desk.backend.credentials(url="http://127.0.0.1:1/x"))
        written = capsys.readouterr()
        everything = written.out + written.err + caplog.text
        assert "ocpi_backend_registered" in everything
        for secret in (token, FIRST, THEIRS, "a-wrong-secret"):
            assert secret not in everything

    run_ocpi(test)
