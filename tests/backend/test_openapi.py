"""The document describes the application, and its examples work."""

import json
from typing import Any

import msgspec
import pytest

from roamd.backend.app import all_routes, build
from roamd.backend.auth import KeyHolder
from roamd.backend.context import Api
from roamd.backend.examples import OBJECTS, SERVICE_RECORD
from roamd.backend.objects import PEER_FEEDS
from roamd.backend.openapi import openapi_of
from roamd.backend.routes import Route
from roamd.backend.schemas import SCHEMAS
from roamd.backend.stream import Streams
from roamd.clock import SystemClock
from roamd.discovery.board import Candidate
from roamd.model.objects import check_object, check_record
from roamd.roaming.operations import StoredObject
from tests.support.api import DirectLink, Harness, run_api
from tests.support.core import FakeCore
from tests.support.schema import faults


def an_api() -> Api:
    return Api(DirectLink(FakeCore()), KeyHolder("k" * 20), SystemClock(), frozenset({"DEABC"}))


def rows() -> list[Route]:
    api = an_api()
    return all_routes(api, Streams(api))


def test_every_route_is_documented_and_every_documented_route_exists() -> None:
    served = {
        (route.method, route.resource.canonical)
        for route in build(an_api()).router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    document = openapi_of(rows())
    documented = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert documented == served


def test_operation_ids_are_unique_and_every_schema_that_is_named_exists() -> None:
    document = openapi_of(rows())
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    text = json.dumps(document)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= SCHEMAS.keys()
    assert SCHEMAS.keys() <= named


async def send_example(api: Harness, row: Route) -> None:
    path = row.path.format(**row.example) + row.example_query
    body: Any = None
    if row.body is not None:
        body = row.body.example if isinstance(row.body.example, dict) else row.body.example.encode()
    answered = await api.send(row.method, path, body, headers=row.example_headers)
    assert answered.status in {answer.status for answer in row.answers if answer.status < 400}, (
        row.method,
        path,
        answered.body,
    )


def test_every_example_is_answered_as_documented() -> None:
    async def test(api: Harness) -> None:
        for name in ("PARKED-1", "PARKED-2", "PARKED-3"):
            await api.send("POST", "/v1/records", {**SERVICE_RECORD, "id": name})
        for feed in PEER_FEEDS:
            api.core.theirs["xyz", feed, "THEIRS-1"] = StoredObject(b"{}", '"1"', "2.3.0")
        for row in rows():
            # At the example's partner nobody can register; tests/processes/test_plain_ocpi.py does at one of its own.
            is_elsewhere = (row.method, row.path) == ("POST", "/v1/peers")
            if row.path not in ("/v1/stream", "/v1/api-key/rotate") and not is_elsewhere:
                await send_example(api, row)

    run_api(test)


def test_the_document_is_served() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("GET", "/v1/openapi.json")
        assert answered.status == 200
        assert answered.json == msgspec.to_builtins(openapi_of(rows()))
        told = await api.send("GET", "/v1/stream.md")
        assert told.status == 200
        assert b"questions.subscribe" in told.body

    run_api(test)


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.method} {row.path}")
def test_each_row_says_what_a_reader_needs(row: Route) -> None:
    assert row.summary.endswith((".", "?"))
    assert row.answers
    assert set(row.example) == {part[1:-1] for part in row.path.split("/") if part.startswith("{")}


def test_the_examples_are_free_of_warnings() -> None:
    for feed, body in OBJECTS.items():
        checked = check_object(feed, "2.3.0", json.dumps(body).encode(), own_parties=frozenset({"DEABC"}))
        assert checked.warnings == (), feed
    record = check_record("2.3.0", json.dumps(SERVICE_RECORD).encode(), own_parties=frozenset({"DEABC"}))
    assert record.warnings == ()


def test_a_candidate_is_as_documented() -> None:
    """No candidate is to be seen in the tests that ask a daemon for everything."""
    seen = Candidate("Demo Taxi", ("introduction",), (), "A" * 56, ("FRRMT",), ("demo-hub",), 0, 0)
    page = {"items": [{**seen.as_dict(), "peer": None}], "next": None}
    assert not list(faults(page, SCHEMAS["CandidatePage"], SCHEMAS))
    (documented,) = [row for row in rows() if row.path == "/v1/candidates"]
    assert [answer.schema for answer in documented.answers if answer.status == 200] == ["CandidatePage"]
