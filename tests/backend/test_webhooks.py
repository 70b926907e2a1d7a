"""Events pushed to the operator's own addresses."""

import asyncio
import hashlib
import hmac
import json
import socket
from base64 import b64decode, b64encode
from typing import Any

import pytest
from aiohttp import TCPConnector, web
from aiohttp.abc import AbstractResolver, ResolveResult

from roamd.backend.guard import RefusedAddress, guarded_socket, is_public
from roamd.backend.webhooks import (
    MAX_PAUSE_S,
    MAX_POST,
    Delivery,
    Webhook,
    WebhookSettings,
    backoff_s,
    secret_bytes,
    signature,
    split_page,
    webhook_session,
)
from roamd.clock import SystemClock
from roamd.errors import ConfigError
from roamd.roaming.operations import ReadEvents
from tests.backend.test_questions import a_backend
from tests.support.api import Harness, run_api
from tests.support.core import FakeCore

SECRET = "whsec_" + b64encode(bytes(range(32))).decode()


class Receiver:
    """A receiver that answers with the given statuses, then 204; what it got is kept."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self._statuses = [*statuses]
        self._headers = headers
        self.got: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()

    async def take(self, request: web.Request) -> web.Response:
        self.got.put_nowait((dict(request.headers), await request.read()))
        return web.Response(status=self._statuses.pop(0) if self._statuses else 204, headers=self._headers)


async def with_webhook(
    api: Harness, url: str, pauses: list[float], **settings: Any
) -> tuple[Webhook, "asyncio.Task[None]"]:
    """A running webhook whose pauses are noted and not waited for."""

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    session = webhook_session(allow_private=True)
    hook = Webhook(api.api, WebhookSettings(url, SECRET, **settings), session, SystemClock(), bytes, pause)

    async def run_and_close() -> None:
        async with session:
            await hook.run()

    return hook, asyncio.create_task(run_and_close())


def test_events_are_posted_together_and_signed() -> None:
    async def test(api: Harness) -> None:
        api.core.happen("peer.state")
        api.core.happen("record.received", b'{"price":1.50}')
        receiver = Receiver()
        async with a_backend(receiver.take) as url:
            hook, task = await with_webhook(api, url, [])
            headers, body = await receiver.got.get()
            told = json.loads(body)
            assert told["type"] == "events"
            assert [each["cursor"] for each in told["data"]["events"]] == ["1", "2"]
            assert b'"price":1.50' in body
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            expected = hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()
            version, _, value = headers["webhook-signature"].partition(",")
            assert (version, b64decode(value)) == ("v1", expected)
            assert headers["Content-Type"] == "application/json"
            api.core.happen("peer.state")
            _, body = await receiver.got.get()
            assert [each["cursor"] for each in json.loads(body)["data"]["events"]] == ["3"]
            api.api.events.close()
            await task
        assert api.core.positions == {hook.settings.known_as: "3"}

    run_api(test)


def test_a_failed_post_is_repeated_with_the_same_id_and_body() -> None:
    async def test(api: Harness) -> None:
        api.core.happen("peer.state")
        receiver, pauses = Receiver(500, 302, 410), list[float]()
        async with a_backend(receiver.take) as url:
            _, task = await with_webhook(api, url, pauses)
            tries = [await receiver.got.get() for _ in range(4)]
            assert len({(headers["webhook-id"], body) for headers, body in tries}) == 1
            assert pauses == [0.5, 1.0, 2.0]
            api.api.events.close()
            await task
        assert [*api.core.positions.values()] == ["1"]

    run_api(test)


def test_the_position_moves_only_after_the_post_was_taken() -> None:
    async def test(api: Harness) -> None:
        api.core.happen("peer.state")
        receiver = Receiver(*[500] * 3)
        async with a_backend(receiver.take) as url:
            _, task = await with_webhook(api, url, [])
            await receiver.got.get()
            assert not api.core.positions
            for _ in range(3):
                await receiver.got.get()
            api.api.events.close()
            await task

    run_api(test)


def test_it_goes_on_where_it_was_and_sends_only_what_is_wanted() -> None:
    async def test(api: Harness) -> None:
        for kind in ("peer.state", "record.received", "peer.state", "record.state", "peer.state"):
            api.core.happen(kind)
        api.core.positions["mine"] = "2"
        receiver = Receiver()
        async with a_backend(receiver.take) as url:
            _, task = await with_webhook(api, url, [], name="mine", events=("record.received", "record.state"))
            _, body = await receiver.got.get()
            assert [each["type"] for each in json.loads(body)["data"]["events"]] == ["record.state"]
            await api.asked(ReadEvents, 2)
            api.api.events.close()
            await task
        assert api.core.positions == {"mine": "5"}

    run_api(test)


def test_a_redirect_is_a_failure_and_not_followed() -> None:
    async def test(api: Harness) -> None:
        receiver = Receiver(307, headers={"Location": "/elsewhere"})
        async with a_backend(receiver.take) as url, webhook_session(allow_private=True) as session:
            hook = Webhook(api.api, WebhookSettings(url, SECRET), session, SystemClock(), bytes)
            assert await hook._try(Delivery("msg_1", b"{}", "1")) == ("status 307", None)
        assert receiver.got.qsize() == 1

    run_api(test)


def test_a_bug_while_sending_is_logged_and_tried_again() -> None:
    async def test(api: Harness) -> None:
        api.core.happen("peer.state")
        receiver, pauses = Receiver(), list[float]()
        async with a_backend(receiver.take) as url:
            api.core.events.append(None)  # type: ignore[arg-type]  # what cannot be sent stands for the bug

            async def mend(seconds: float) -> None:
                pauses.append(seconds)
                api.core.events.pop()

            async with webhook_session(allow_private=True) as session:
                hook = Webhook(api.api, WebhookSettings(url, SECRET), session, SystemClock(), bytes, mend)
                task = asyncio.create_task(hook.run())
                await receiver.got.get()
                assert len(pauses) == 1
                api.api.events.close()
                await task

    run_api(test)


def test_a_receiver_says_when_to_come_back_within_reason() -> None:
    async def test(api: Harness) -> None:
        api.core.happen("peer.state")
        receiver, pauses = Receiver(503, headers={"Retry-After": "7"}), list[float]()
        async with a_backend(receiver.take) as url:
            _, task = await with_webhook(api, url, pauses)
            for _ in range(2):
                await receiver.got.get()
            assert pauses == [7.0]
            api.api.events.close()
            await task

    run_api(test)


def test_a_webhook_on_a_private_address_is_never_dialled() -> None:
    async def test(api: Harness) -> None:
        receiver = Receiver()
        async with a_backend(receiver.take) as url, webhook_session(allow_private=False) as session:
            named = url.replace("127.0.0.1", "localhost")
            for address in (url, named, url.replace("127.0.0.1", "[::ffff:127.0.0.1]")):
                hook = Webhook(api.api, WebhookSettings(address, SECRET), session, SystemClock(), bytes)
                outcome, _ = await hook._try(Delivery("msg_1", b"{}", "1"))
                assert outcome == "RefusedAddress"
        assert receiver.got.empty()

    run_api(test)


class Rebinding(AbstractResolver):
    """A name that was public when the operator wrote it down, and is ours when it is dialled."""

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing to close."""


def test_a_name_that_was_rebound_to_a_private_address_is_never_dialled() -> None:
    async def test(api: Harness) -> None:
        receiver, resolver = Receiver(), Rebinding()
        async with a_backend(receiver.take) as url, webhook_session(allow_private=False) as session:
            assert isinstance(session.connector, TCPConnector)
            session.connector._resolver = resolver
            named = WebhookSettings(url.replace("127.0.0.1", "hooks.abc.example"), SECRET)
            hook = Webhook(api.api, named, session, SystemClock(), bytes)
            outcome, _ = await hook._try(Delivery("msg_1", b"{}", "1"))
        assert (outcome, resolver.asked) == ("RefusedAddress", 1)
        assert receiver.got.empty()

    run_api(test)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::1",
        "2001:0:7f00:1::", "2001:db8::1", "nonsense", "",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_dialled(address: str) -> None:
    assert is_public(address)


def test_the_guard_stands_where_the_socket_is_made() -> None:
    where = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80))
    with pytest.raises(RefusedAddress):
        guarded_socket(where)
    made = guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 80)))
    made.close()


def test_the_signature_is_the_published_one() -> None:
    # The example of the Standard Webhooks specification.
    key = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    got = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert got == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["whsec_!", "whsec_", "whsec_" + b64encode(bytes(10)).decode()])
def test_a_secret_that_is_none_is_a_configuration_error(secret: str) -> None:
    with pytest.raises(ConfigError, match=r"webhooks\.secret"):
        secret_bytes(secret)


def test_large_events_are_spread_over_posts() -> None:
    core = FakeCore()
    for size in (MAX_POST - 100, 50, 100, MAX_POST * 2, 10):
        core.happen("record.received", b'"' + b"x" * size + b'"')
    assert [[event.cursor for event in run] for run in split_page(core.events)] == [["1", "2"], ["3"], ["4"], ["5"]]
    assert split_page([]) == []


def test_pauses_grow_to_five_minutes_and_differ() -> None:
    def least(count: int) -> bytes:
        return bytes(count)

    def most(count: int) -> bytes:
        return b"\xff" * count

    assert [backoff_s(failures, most) for failures in (1, 2, 3)] == [1, 2, 4]
    assert backoff_s(1, least) == 0.5
    assert backoff_s(1000, most) == MAX_PAUSE_S


def test_a_name_is_kept_under_its_own_or_its_addresss_hash() -> None:
    one, other = WebhookSettings("http://a", SECRET), WebhookSettings("http://b", SECRET)
    assert one.known_as != other.known_as
    assert WebhookSettings("http://a", SECRET, name="mine").known_as == "mine"
