"""The mDNS finder, for real, on the loopback interface. asyncio tests run their own loop."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

import pytest
from zeroconf.asyncio import AsyncServiceInfo

from roamd.discovery import mdns
from roamd.discovery.finder import Sighting, Veil
from roamd.discovery.mdns import SERVICE_TYPE, MdnsFinder, NoMulticastError, host_port, sighting_of
from roamd.discovery.multicast import interfaces_for, multicast_trouble

LOOPBACK = "127.0.0.1"
TROUBLE = multicast_trouble(LOOPBACK)
needs_multicast = pytest.mark.skipif(TROUBLE is not None, reason=f"no multicast on loopback here: {TROUBLE}")


def somebody() -> str:
    """An endpoint id that is nobody else's: other tests, and other runs of these, may be on the network as well."""
    return base64.b32encode(os.urandom(35)).decode()


CSO, CSP = somebody(), somebody()
PATIENCE_S = 15


class Sightings:
    """Keeps what a finder reported, and lets a test wait for the one that it is after."""

    def __init__(self) -> None:
        self.all: list[Sighting] = []
        self._news = asyncio.Event()

    def report(self, sighting: Sighting) -> None:
        self.all.append(sighting)
        self._news.set()

    async def wait_for(self, wanted: Callable[[Sighting], bool]) -> Sighting:
        while True:
            for sighting in self.all:
                if wanted(sighting):
                    return sighting
            self._news.clear()
            await self._news.wait()


@asynccontextmanager
async def finding(endpoint_id: str, port: int | None) -> AsyncIterator[tuple[Sightings, asyncio.Task[None]]]:
    sightings = Sightings()
    task = asyncio.ensure_future(
        MdnsFinder(endpoint_id, port, addresses=[LOOPBACK], interfaces=[LOOPBACK]).run(sightings.report)
    )
    try:
        yield sightings, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def within_patience() -> None:
        await asyncio.wait_for(main(), PATIENCE_S)

    asyncio.run(within_patience())


def shows(endpoint_id: str) -> Callable[[Sighting], bool]:
    return lambda sighting: sighting.veil is not None and sighting.veil.hides(endpoint_id)


@needs_multicast
def test_two_daemons_on_one_network_find_each_other_and_see_the_other_go() -> None:
    async def main() -> None:
        async with finding(CSO, 63119) as (cso_sees, _):
            async with finding(CSP, 63219) as (csp_sees, _):
                csp = await cso_sees.wait_for(shows(CSP))
                cso = await csp_sees.wait_for(shows(CSO))
                assert csp.addresses == ("127.0.0.1:63219",)
                assert cso.addresses == ("127.0.0.1:63119",)
                assert not any(map(shows(CSO), cso_sees.all)), "nobody sees itself"
            await cso_sees.wait_for(lambda sighting: sighting.gone and sighting.name == csp.name)

    run(main)


@needs_multicast
def test_a_dial_only_endpoint_sees_and_is_not_seen() -> None:
    async def main() -> None:
        silent, seen, third = somebody(), somebody(), somebody()
        async with finding(silent, None) as (silent_sees, looking), finding(seen, 63219) as (seen_sees, _):
            await silent_sees.wait_for(shows(seen))
            async with finding(third, 1):
                await seen_sees.wait_for(shows(third))
            assert not any(map(shows(silent), seen_sees.all))
            assert not looking.done(), "it goes on looking"

    run(main)


def test_what_is_shown_names_nobody_and_is_new_at_each_start() -> None:
    first, second = (mdns._service(CSO, 63119, [LOOPBACK], os.urandom) for _ in range(2))
    assert first.name != second.name
    assert first.server != second.server
    assert first.properties != second.properties
    assert set(first.properties) == {b"salt", b"tag"}


def test_without_multicast_it_ends_at_once_and_says_what_to_do() -> None:
    async def main() -> None:
        nowhere = MdnsFinder(CSO, 63119, interfaces=["192.0.2.123"])  # an address of documentation, on no interface
        with pytest.raises(NoMulticastError, match=r"192\.0\.2\.123: .*Name partners under \[\[candidates\]\]"):
            await nowhere.run(lambda _sighting: None)

    run(main)


def record(
    properties: Mapping[str, str | bytes], port: int = 63119, addresses: tuple[str, ...] = (LOOPBACK,)
) -> AsyncServiceInfo:
    return AsyncServiceInfo(
        SERVICE_TYPE, f"x.{SERVICE_TYPE}", port=port, parsed_addresses=list(addresses), properties=dict(properties)
    )


WHOLE = {"salt": "00" * 16, "tag": "11" * 16}


def test_a_whole_record_becomes_a_sighting() -> None:
    sighting = sighting_of(record(WHOLE))
    assert sighting == Sighting("mdns", "x", ("127.0.0.1:63119",), veil=Veil(bytes(16), b"\x11" * 16))


def broken_records() -> Iterator[AsyncServiceInfo]:
    yield record({})
    yield record(WHOLE, port=0)
    yield record(WHOLE, addresses=())
    yield record(WHOLE | {"salt": "00" * 15})
    yield record(WHOLE | {"tag": "zz" * 16})
    yield record(WHOLE | {"tag": b"\xff" * 32})


@pytest.mark.parametrize("info", list(broken_records()))
def test_a_strangers_broken_record_is_no_sighting(info: AsyncServiceInfo) -> None:
    assert sighting_of(info) is None


def test_ipv6_addresses_are_written_in_brackets() -> None:
    assert host_port("2001:db8::1", 63119) == "[2001:db8::1]:63119"
    assert host_port("192.0.2.1", 63119) == "192.0.2.1:63119"


@pytest.mark.parametrize(
    ("listen", "interfaces"),
    [
        ("127.0.0.1:63119", ("127.0.0.1",)),
        ("192.0.2.1:63119", ("192.0.2.1",)),
        ("0.0.0.0:63119", ()),
        ("[::]:63119", ()),
        ("roam.abc.example:63119", ()),
    ],
)
def test_who_listens_on_one_address_stays_on_its_interface(listen: str, interfaces: tuple[str, ...]) -> None:
    assert interfaces_for(listen) == interfaces
