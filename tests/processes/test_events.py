"""What came in reaches the backend in each of the ways that it may listen: long poll, server-sent events, stream."""

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import aiohttp

from roamd.demo import objects
from tests.processes.conftest import Pair
from tests.support.daemons import Company

NOW_MS = 1_780_000_000_000


def newest(company: Company) -> str:
    """The cursor behind the newest event."""
    cursor = ""
    while (page := company.api.get(f"/v1/events?after={cursor}&limit=1000"))["items"]:
        cursor = page["next"]
    return str(page["next"])


def hand_in(pair: Pair, record_id: str) -> None:
    answer = pair.cso.api.need("POST", "/v1/records", objects.cdr(record_id, objects.LISTED_DRIVER, NOW_MS))
    assert answer["state"] in ("QUEUED", "DELIVERED")


def received(event: dict[str, Any], record_id: str) -> bool:
    return bool(event["type"] == "record.received" and event["data"]["record"]["id"] == record_id)


def told_of_links(event: dict[str, Any]) -> bool:
    """Two that have just paired may have dialled at once, and tell of it for a moment."""
    return bool(event["type"] == "peer.state")


def polled(company: Company, cursor: str) -> dict[str, Any]:
    """The next page that tells of more than links."""
    while True:
        page = company.api.get(f"/v1/events?after={cursor}&wait=30")
        items = [event for event in page["items"] if not told_of_links(event)]
        if items or not page["items"]:
            return {**page, "items": items}
        cursor = page["next"]


def test_a_long_poll_ends_as_soon_as_a_record_comes(pair: Pair) -> None:
    cursor, pages = newest(pair.csp), []
    waiting = threading.Thread(target=lambda: pages.append(polled(pair.csp, cursor)))
    waiting.start()
    hand_in(pair, "EVENT-POLL")
    waiting.join(10)
    (page,) = pages
    assert [received(event, "EVENT-POLL") for event in page["items"]] == [True]
    assert page["next"] == page["items"][-1]["cursor"] != cursor


def test_an_acknowledged_event_stays_readable_for_a_day(pair: Pair) -> None:
    cursor = newest(pair.csp)
    hand_in(pair, "EVENT-ACK")
    page = polled(pair.csp, cursor)
    assert pair.csp.api.request("POST", "/v1/events/ack", {"cursor": page["next"]}).status == 204
    again = pair.csp.api.get(f"/v1/events?after={cursor}")["items"]
    assert [event for event in again if not told_of_links(event)] == page["items"]


def sse(company: Company, cursor: str) -> tuple[http.client.HTTPConnection, Iterator[dict[str, Any]]]:
    connection = http.client.HTTPConnection(company.api.address, timeout=10)
    headers = company.authorization | {"Accept": "text/event-stream", "Last-Event-ID": cursor}
    connection.request("GET", "/v1/events", headers=headers)
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "text/event-stream"

    def events() -> Iterator[dict[str, Any]]:
        for line in response:
            if line.startswith(b"data: "):
                event = json.loads(line[6:])
                if not told_of_links(event):
                    yield event

    return connection, events()


def test_server_sent_events_come_as_they_happen(pair: Pair) -> None:
    connection, events = sse(pair.csp, newest(pair.csp))
    try:
        hand_in(pair, "EVENT-SSE")
        assert received(next(events), "EVENT-SSE")
        pair.cso.api.need("PUT", f"/v1/tariffs/{objects.TARIFF_ID}", objects.tariff(NOW_MS))
        changed = next(events)
        assert (changed["type"], changed["data"]["feed"], changed["data"]["id"]) == (
            "object.changed", "tariffs", objects.TARIFF_ID,
        )  # fmt: skip
        assert "record" not in changed["data"]
    finally:
        connection.close()


def test_the_stream_carries_requests_and_events_on_one_connection(pair: Pair) -> None:
    sender = objects.cdr("EVENT-STREAM", objects.LISTED_DRIVER, NOW_MS)

    async def talk() -> tuple[dict[str, Any], dict[str, Any]]:
        url = "http://{}/v1/stream"
        async with aiohttp.ClientSession() as web:
            cso = await web.ws_connect(url.format(pair.cso.api.address), headers=pair.cso.authorization)
            csp = await web.ws_connect(url.format(pair.csp.api.address), headers=pair.csp.authorization)
            await csp.send_json([{"op": "events.subscribe", "after": newest(pair.csp), "id": 1}])
            await cso.send_json([{"op": "record", "id": 7, "body": sender}])
            reply = await told(cso, "reply")
            event = await told(csp, "events")
            return reply, event

    async def told(socket: aiohttp.ClientWebSocketResponse, op: str) -> dict[str, Any]:
        while True:
            frame = await socket.receive_json(timeout=10)
            for message in frame if isinstance(frame, list) else [frame]:
                items = [event for event in message.get("items", ()) if not told_of_links(event)]
                if message["op"] == op and (items or op != "events"):
                    return {**message, "items": items}

    reply, event = asyncio.run(talk())
    assert (reply["id"], reply["status"], reply["body"]["state"]) == (7, 202, "QUEUED")
    assert received(event["items"][0], "EVENT-STREAM")
    assert event["items"][0]["data"]["record"] == sender
