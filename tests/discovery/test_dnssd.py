"""Wide-area discovery against a real DNS server on loopback: what it gives, when it asks again, what it survives."""

import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from roamd.discovery import dnsquery
from roamd.discovery.dnsquery import Found, LookupFailedError, ask
from roamd.discovery.dnssd import LEAST_S, MAX_INSTANCES, MOST_S, RETRY_MOST_S, STALE_S, DnsSdFinder, Listing, look
from roamd.discovery.finder import Sighting, Veil
from roamd.trust.endpoint import display_endpoint_id
from tests.support.nameserver import NameServer
from tests.support.trust import identity

DOMAIN, SERVICE = "roam.example", "_roamd._tcp.roam.example"
PARTNER = identity("partner").endpoint_id
TYPED_WRONG = PARTNER[:-1] + ("A" if PARTNER[-1] != "A" else "B")
ABC = f"abc.{SERVICE}"


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    async with NameServer() as running:
        yield running


async def seen(server: NameServer, domain: str = DOMAIN) -> Listing:
    async def lookup(name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Found:
        return await ask(name, kind, server.addresses(), os.urandom)

    with trio.fail_after(20):
        return await look(domain, lookup)


async def test_a_service_is_found_with_its_address_and_its_endpoint_id(server: NameServer) -> None:
    server.serve_one(DOMAIN, "abc", "roamd.abc.example", 63119, f"id={display_endpoint_id(PARTNER).lower()}")
    assert (await seen(server)).found == {ABC: Sighting("dns", ABC, ("roamd.abc.example:63119",), PARTNER)}


async def test_a_company_may_show_a_veil_instead_of_its_id(server: NameServer) -> None:
    veil = Veil.over(PARTNER, os.urandom(16))
    server.serve_one(DOMAIN, "abc", "h.example", 1, f"salt={veil.salt.hex()}", f"TAG={veil.tag.hex()}")
    sighting = (await seen(server)).found[ABC]
    assert sighting.veil == veil
    assert sighting.endpoint_id is None


async def test_a_service_without_a_text_is_an_address_and_no_more(server: NameServer) -> None:
    server.serve_one(DOMAIN, "abc", "h.example", 63119)
    assert (await seen(server)).found == {ABC: Sighting("dns", ABC, ("h.example:63119",))}


async def test_a_single_service_may_stand_at_the_service_name_itself(server: NameServer) -> None:
    server.put(SERVICE, "SRV", "0 0 63119 h.example.")
    server.put(SERVICE, "TXT", f'"id={PARTNER}"')
    assert (await seen(server)).found[SERVICE].endpoint_id == PARTNER


async def test_the_server_with_the_lower_priority_and_then_the_greater_weight_comes_first(server: NameServer) -> None:
    server.serve_one(DOMAIN, "abc", "unused", 1)
    server.put(ABC, "SRV", "20 9 1 last.example.", "10 1 1 second.example.", "10 5 1 first.example.")
    assert (await seen(server)).found[ABC].addresses == ("first.example:1", "second.example:1", "last.example:1")


@pytest.mark.parametrize(
    "texts",
    [["id=NONSENSE"], [f"id={TYPED_WRONG}"], ["salt=00", "tag=00"], ["salt=" + "0" * 32], ["id="]],
    ids=["no id", "typing error", "short veil", "half a veil", "empty id"],
)
async def test_a_service_whose_id_cannot_be_read_is_counted_and_not_shown(server: NameServer, texts: list[str]) -> None:
    server.serve_one(DOMAIN, "abc", "h.example", 63119, *texts)
    listing = await seen(server)
    assert (listing.found, listing.unreadable) == ({}, 1)


async def test_a_target_that_says_not_here_or_is_no_host_name_is_no_address(server: NameServer) -> None:
    server.serve_one(DOMAIN, "abc", "unused", 1)
    server.put(ABC, "SRV", "0 0 63119 .", r"0 0 63119 a\032b.example.", "0 0 0 port.example.")
    assert (await seen(server)).unreadable == 1


async def test_an_answer_that_is_cut_off_is_asked_for_again_over_tcp(server: NameServer) -> None:
    names = [f"a-rather-long-name-of-a-service-{number:02}.{SERVICE}" for number in range(40)]
    server.put(SERVICE, "PTR", *(f"{name}." for name in names))
    for name in names:
        server.put(name, "SRV", "0 0 63119 h.example.")
    assert set((await seen(server)).found) == set(names)
    assert [way for name, kind, way in server.asked if kind == "PTR"] == ["udp", "tcp"]


async def test_an_alias_is_followed(server: NameServer) -> None:
    server.serve_one(DOMAIN, "abc", "h.example", 63119)
    real = server.zone.pop((SERVICE, "PTR"))
    server.put(SERVICE, "CNAME", "elsewhere.example.")

    def with_both(query: dns.message.Message, answer: dns.message.Message) -> bytes:
        if query.question[0].rdtype == dns.rdatatype.PTR:
            real.name = dns.name.from_text("elsewhere.example.")
            answer.answer.append(real)
        return answer.to_wire()

    server.spoil = with_both
    assert ABC in (await seen(server)).found


async def test_no_such_name_is_an_answer_and_nobody_is_there(server: NameServer) -> None:
    listing = await seen(server)
    assert (listing.found, listing.unknown) == ({}, set())


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "FORMERR"])
async def test_a_server_that_fails_is_asked_twice_and_then_given_up(server: NameServer, rcode: str) -> None:
    server.rcodes[SERVICE, "PTR"] = dns.rcode.from_text(rcode)
    with pytest.raises(LookupFailedError, match=rcode):
        await seen(server)
    assert len(server.asked) == dnsquery.ROUNDS


async def test_a_silent_server_is_given_up_in_time(server: NameServer, autojump_clock: MockClock) -> None:
    server.silent = True
    with pytest.raises(LookupFailedError, match="does not answer"):
        await seen(server)


async def test_the_next_server_is_asked_when_the_first_one_is_not_there(server: NameServer) -> None:
    server.serve_one(DOMAIN, "abc", "h.example", 63119)
    async with NameServer() as broken:
        broken.rcodes[SERVICE, "PTR"] = dns.rcode.SERVFAIL
        servers = [*broken.addresses(), *server.addresses()]
        found = await ask(dns.name.from_text(SERVICE), dns.rdatatype.PTR, servers, os.urandom)
    assert len(found.records) == 1


async def test_without_any_server_it_says_so() -> None:
    with pytest.raises(LookupFailedError, match="no name server"):
        await ask(dns.name.from_text(SERVICE), dns.rdatatype.PTR, [], os.urandom)


async def test_an_answer_with_another_id_is_not_taken(server: NameServer, autojump_clock: MockClock) -> None:
    def guess(query: dns.message.Message, answer: dns.message.Message) -> bytes:
        answer.id = (query.id + 1) % 65536
        return answer.to_wire()

    server.serve_one(DOMAIN, "abc", "evil.example", 1)
    server.spoil = guess
    with pytest.raises(LookupFailedError, match="does not answer"):
        await seen(server)


def _to_another_question(query: dns.message.Message, answer: dns.message.Message) -> bytes:
    other = dns.message.make_query("other.example", "PTR", id=query.id)
    return dns.message.make_response(other).to_wire()


def _cut_short(query: dns.message.Message, answer: dns.message.Message) -> bytes:
    return answer.to_wire()[:-3]


def _header_only(query: dns.message.Message, answer: dns.message.Message) -> bytes:
    return answer.to_wire()[:6]


def _noise(query: dns.message.Message, answer: dns.message.Message) -> bytes:
    return answer.to_wire()[:12] + b"\xff" * 200


@pytest.mark.parametrize("spoil", [_to_another_question, _cut_short, _noise])
async def test_an_answer_that_is_none_is_a_failed_lookup(
    server: NameServer, spoil: Callable[[dns.message.Message, dns.message.Message], bytes]
) -> None:
    server.serve_one(DOMAIN, "abc", "h.example", 63119)
    server.spoil = spoil
    with pytest.raises(LookupFailedError):
        await seen(server)


async def test_thousands_of_records_are_refused_before_they_are_read(server: NameServer) -> None:
    """The worst that 63 KB can hold keeps dnspython busy for ten seconds; here it must not cost one."""

    def endless(query: dns.message.Message, answer: dns.message.Message) -> bytes:
        long = b"".join(b"\x01a" for _ in range(126)) + b"\0"
        record = b"\xc0\x0c" + b"\0\x0c\0\x01\0\0\0\x3c\0\x02\xc0\x0c"
        head = query.id.to_bytes(2, "big") + b"\x81\x80\0\x01" + (4500).to_bytes(2, "big") + bytes(4)
        return (head + long + b"\0\x0c\0\x01" + record * 4500)[:16000]

    server.spoil = endless
    began = time.perf_counter()
    with pytest.raises(LookupFailedError, match="4501 entries"):
        await seen(server)
    assert time.perf_counter() - began < 1


async def test_a_stream_that_promises_more_than_is_read_is_refused(server: NameServer) -> None:
    names = [f"service-{number:04}-{'x' * 40}.{SERVICE}." for number in range(700)]
    server.put(SERVICE, "PTR", *names)
    with pytest.raises(LookupFailedError, match="bytes is not read"):
        await seen(server)


async def test_of_many_services_only_so_many_are_looked_at(server: NameServer) -> None:
    server.put(SERVICE, "PTR", *(f"s{number}.{SERVICE}." for number in range(150)))
    await seen(server)
    assert len({name for name, kind, _ in server.asked if kind == "SRV"}) == MAX_INSTANCES


async def test_a_service_that_points_at_itself_is_asked_once(server: NameServer) -> None:
    server.put(SERVICE, "PTR", f"{SERVICE}.")
    assert (await seen(server)).found == {}
    assert len(server.asked) == 2


async def test_aliases_that_lead_round_in_a_circle_are_a_failed_lookup(server: NameServer) -> None:
    def circle(query: dns.message.Message, answer: dns.message.Message) -> bytes:
        server.put("round.example", "CNAME", f"{SERVICE}.")
        server.put(SERVICE, "CNAME", "round.example.")
        answer.answer = [server.zone[SERVICE, "CNAME"], server.zone["round.example", "CNAME"]]
        return answer.to_wire()

    server.spoil = circle
    with pytest.raises(LookupFailedError):
        await seen(server)


async def test_a_huge_text_is_read_as_far_as_is_sensible(server: NameServer) -> None:
    server.serve_one(DOMAIN, "abc", "h.example", 63119, *["x" * 200] * 40, f"id={PARTNER}")
    assert (await seen(server)).found[ABC].endpoint_id is None


# --- asking again -----------------------------------------------------------------------------------------------


@dataclass
class Watch:
    """A finder that runs, what it reported and what it noted. Its tests name `mock_clock`, or trio's own is taken."""

    server: NameServer
    clock: MockClock
    reported: list[Sighting] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    looks: int = 0

    async def run(self) -> None:
        finder = DnsSdFinder(
            [DOMAIN], self.random, lambda _domain, state: self.notes.append(state), self.server.addresses
        )
        await finder.run(self.reported.append)

    def random(self, size: int) -> bytes:
        """Four bytes are drawn for the jitter of the next wait: a look is over. The jitter is none."""
        self.looks += size == 4
        return bytes(size) if size == 4 else os.urandom(size)

    async def after(self, seconds: float) -> None:
        """The time passes, and the look that is due then is over."""
        looks = self.looks
        self.clock.jump(seconds)
        await settled(lambda: self.looks == looks + 1)

    async def nothing_for(self, seconds: float) -> None:
        """The time passes, and nothing was asked."""
        asked = len(self.server.asked)
        self.clock.jump(seconds)
        await trio.testing.wait_all_tasks_blocked()
        assert len(self.server.asked) == asked


async def settled(is_so: Callable[[], bool]) -> None:
    """Sockets are real and the clock is not: let the loop turn until it is so, without any time passing."""
    for _ in range(100_000):
        if is_so():
            return
        await trio.lowlevel.checkpoint()
    raise AssertionError("it never came to that")


@pytest.fixture
async def watch(server: NameServer, nursery: trio.Nursery, mock_clock: MockClock) -> Watch:
    watch = Watch(server, mock_clock)
    server.serve_one(DOMAIN, "abc", "h.example", 63119, f"id={PARTNER}", ttl_s=600)
    nursery.start_soon(watch.run)
    await settled(lambda: watch.looks == 1)
    return watch


async def test_a_domain_is_asked_again_when_its_time_is_over_and_not_before(
    watch: Watch, mock_clock: MockClock
) -> None:
    await watch.nothing_for(599)
    await watch.after(1)


async def test_nothing_new_is_not_reported_again_and_what_changed_is(watch: Watch, mock_clock: MockClock) -> None:
    await watch.after(600)
    watch.server.serve_one(DOMAIN, "abc", "moved.example", 63119, f"id={PARTNER}", ttl_s=600)
    await watch.after(600)
    assert [sighting.addresses for sighting in watch.reported] == [("h.example:63119",), ("moved.example:63119",)]
    assert watch.notes == ["1 seen"]


async def test_who_leaves_the_zone_is_taken_back(watch: Watch, mock_clock: MockClock) -> None:
    watch.server.zone.clear()
    await watch.after(600)
    assert watch.reported[-1] == Sighting("dns", ABC, (), gone=True)


async def test_while_nobody_answers_what_was_seen_stays_for_a_day(watch: Watch, mock_clock: MockClock) -> None:
    watch.server.rcodes[SERVICE, "PTR"] = dns.rcode.SERVFAIL
    await watch.after(600)
    assert "SERVFAIL" in watch.notes[-1]
    for wait_s in (60, 120, 240):  # it is asked again after a minute, then after two, and at last once an hour
        await watch.nothing_for(wait_s - 1)
        await watch.after(1)
    while mock_clock.current_time() <= STALE_S - RETRY_MOST_S:
        await watch.after(RETRY_MOST_S)
        assert len(watch.reported) == 1
    await watch.after(RETRY_MOST_S)
    await watch.after(RETRY_MOST_S)
    assert watch.reported[-1].gone
    assert len(watch.notes) == 2


async def test_a_service_that_cannot_be_asked_stays_while_the_others_are_renewed(
    watch: Watch, mock_clock: MockClock
) -> None:
    watch.server.put(SERVICE, "PTR", f"{ABC}.", f"xyz.{SERVICE}.")
    watch.server.put(f"xyz.{SERVICE}", "SRV", "0 0 1 xyz.example.")
    watch.server.rcodes[ABC, "SRV"] = dns.rcode.SERVFAIL
    await watch.after(600)
    assert watch.notes[-1] == "1 seen, 1 not answered"
    assert not any(sighting.gone for sighting in watch.reported)
    await watch.after(LEAST_S)


@pytest.mark.parametrize(("ttl_s", "waits_s"), [(0, LEAST_S), (10_000_000, MOST_S)])
async def test_a_domain_that_wants_to_be_asked_all_the_time_or_never_is_asked_at_our_own_pace(
    watch: Watch, mock_clock: MockClock, ttl_s: int, waits_s: float
) -> None:
    watch.server.serve_one(DOMAIN, "abc", "h.example", 63119, ttl_s=ttl_s)
    watch.server.put(ABC, "TXT", '"id="', ttl_s=ttl_s)
    await watch.after(600)
    await watch.nothing_for(waits_s - 1)
    await watch.after(1)


async def test_the_waits_of_many_endpoints_differ_by_a_tenth(
    server: NameServer, nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    server.serve_one(DOMAIN, "abc", "h.example", 63119, f"id={PARTNER}", ttl_s=600)
    watch = Watch(server, mock_clock)
    finder = DnsSdFinder([DOMAIN], lambda size: b"\xff" * size, lambda *_: watch.random(4), server.addresses)
    nursery.start_soon(finder.run, watch.reported.append)
    await settled(lambda: watch.looks == 1)
    await watch.nothing_for(659)
