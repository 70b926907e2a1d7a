"""/v1/events: pages, long polls, server-sent events."""

import asyncio

import pytest

from roamd.backend import waiting as waiting_module
from roamd.backend.waiting import MAX_WAITING, EventHub, TooManyWaiting
from roamd.roaming.operations import ReadEvents
from tests.support.api import KEY, Harness, run, run_api
from tests.support.core import operations_of


def test_a_page_always_has_a_cursor() -> None:
    async def test(api: Harness) -> None:
        assert (await api.send("GET", "/v1/events")).json == {"items": [], "next": "0"}
        api.core.happen("record.received", b'{"record_id":"R1","record":{"price":1.00}}')
        api.core.happen("peer.state")
        page = await api.send("GET", "/v1/events?after=&limit=1")
        (event,) = page.json["items"]
        assert event.keys() == {"id", "cursor", "at", "peer", "type", "data"}
        assert b'"price":1.00' in page.body
        rest = (await api.send("GET", f"/v1/events?after={page.json['next']}&limit=100000")).json
        assert [each["type"] for each in rest["items"]] == ["peer.state"]
        assert operations_of(api.core, ReadEvents)[-1].limit == 1000

    run_api(test)


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "wait=-1", "wait=x"])
def test_a_parameter_that_is_no_number_is_a_fault(query: str) -> None:
    async def test(api: Harness) -> None:
        assert (await api.send("GET", f"/v1/events?{query}")).paths == [query.split("=")[0]]

    run_api(test)


def test_a_cursor_that_is_unknown_is_refused() -> None:
    async def test(api: Harness) -> None:
        assert (await api.send("GET", "/v1/events?after=bogus")).status == 404
        answered = await api.send("GET", "/v1/events?after=bogus", headers={"Accept": "text/event-stream"})
        assert answered.status == 404

    run_api(test)


def test_a_long_poll_answers_when_something_happens() -> None:
    async def test(api: Harness) -> None:
        poll = asyncio.create_task(api.send("GET", "/v1/events?wait=60"))
        await api.asked(ReadEvents)
        api.core.happen("peer.state")
        assert [each["type"] for each in (await poll).json["items"]] == ["peer.state"]

    run_api(test)


def test_what_happens_between_reading_and_waiting_is_not_missed() -> None:
    async def test(api: Harness) -> None:
        api.core.held = []
        poll = asyncio.create_task(api.send("GET", "/v1/events?wait=60"))
        await api.asked(ReadEvents)
        operation, reply = api.core.held[0]
        reply(api.core.reply_to(operation))
        api.core.held = None
        api.core.happen("peer.state")
        assert len((await poll).json["items"]) == 1

    run_api(test)


def test_a_long_poll_is_let_go_when_the_api_stops() -> None:
    async def test(api: Harness) -> None:
        poll = asyncio.create_task(api.send("GET", "/v1/events?wait=60"))
        await api.asked(ReadEvents)
        api.api.events.close()
        assert (await poll).json == {"items": [], "next": "0"}

    run_api(test)


def test_acknowledging_names_a_cursor() -> None:
    async def test(api: Harness) -> None:
        assert (await api.send("POST", "/v1/events/ack", {"cursor": "3"})).status == 204
        assert api.core.acknowledged == ["3"]
        for wrong in (b"{}", b'{"cursor":3}', b"[]", b'"x"', b""):
            assert (await api.send("POST", "/v1/events/ack", wrong)).status == 422
        answered = await api.send("POST", "/v1/events/ack", b'{"cursor":"1","cursor":"2"}')
        assert (answered.status, answered.paths) == (422, ["$.cursor"])

    run_api(test)


def test_server_sent_events_come_in_order_and_go_on_where_they_were_cut() -> None:
    async def test(api: Harness) -> None:
        api.core.happen("record.received", b'{"a":\n1}')
        headers = {"Authorization": f"Bearer {KEY}", "Accept": "text/event-stream"}
        async with api.session.get(f"{api.url}/v1/events", headers=headers) as stream:
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            first = [await stream.content.readline() for _ in range(4)]
            assert first[:2] == [b"id: 1\n", b"event: record.received\n"]
            assert first[2].startswith(b'data: {"id":"event-1"')
            assert first[3] == b"\n"
            api.core.happen("peer.state")
            while (line := await stream.content.readline()) in (b": \n", b"\n"):
                pass
            assert line == b"id: 2\n"
        async with api.session.get(f"{api.url}/v1/events", headers={**headers, "Last-Event-ID": "1"}) as stream:
            assert await stream.content.readline() == b"id: 2\n"

    run_api(test)


def test_server_sent_events_that_cannot_go_on_end_and_are_refused_the_next_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(api: Harness) -> None:
        headers = {"Authorization": f"Bearer {KEY}", "Accept": "text/event-stream"}
        async with api.session.get(f"{api.url}/v1/events", headers=headers) as stream:
            await stream.content.readline()
            monkeypatch.setattr(waiting_module, "MAX_WAITING", 0)
            api.core.happen("peer.state")
            assert b"id: 1\n" in await stream.content.read(), "to its end, with no second answer in it"
        assert (await api.send("GET", "/v1/events", headers=headers)).json["code"] == "too-many-waiting"

    run_api(test)


def test_server_sent_events_end_when_the_api_stops() -> None:
    async def test(api: Harness) -> None:
        headers = {"Authorization": f"Bearer {KEY}", "Accept": "text/event-stream"}
        async with api.session.get(f"{api.url}/v1/events", headers=headers) as stream:
            await stream.content.readline()
            api.api.events.close()
            await stream.content.read()

    run_api(test)


def test_only_so_many_may_wait() -> None:
    async def test() -> None:
        hub = EventHub()
        waiting = [asyncio.create_task(hub.hold_request(0, 60)) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyWaiting):
            await hub.hold_request(0, 60)
        webhook = asyncio.create_task(hub.wait_beyond(0, 60))
        await asyncio.sleep(0)
        assert not webhook.done(), "what waits of our own accord is not kept out"
        hub.arrived()
        assert await asyncio.gather(*waiting, webhook) == [True] * (MAX_WAITING + 1)
        assert await hub.wait_beyond(1, 0) is False

    run(test)
