"""Pairing over real TCP and TLS on loopback: one inviter, its guests, and those who were not invited."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trio

from roamd.errors import NotTrusted, OperatorError, PeerError, TryAgain, UsageError
from roamd.peering import pairing_server
from roamd.peering.pairing_client import PairingResult, pair
from roamd.peering.pairing_server import PLACES, TRIES_PER_MINUTE, PairingServer
from roamd.peering.pairing_stream import DocumentStream
from roamd.peering.tls import TlsStream
from roamd.trust.identity import Identity
from roamd.trust.invitation import Invitation
from roamd.trust.words import six_words
from tests.support.invitations import HandClock, MemoryInvitations
from tests.support.trust import contexts, descriptor_data, identity, real_now_ms

HOST, GUEST, OTHER = identity(0), identity(1), identity(2)


@dataclass
class Inn:
    """A running pairing server with one invitation."""

    server: PairingServer
    invitations: MemoryInvitations
    invitation: Invitation
    clock: HandClock

    async def pair(self, guest: Identity = GUEST, **changes: object) -> PairingResult:
        invitation = replace(self.invitation, **changes)  # type: ignore[arg-type]  # fields of Invitation
        data = descriptor_data(guest, name="Guest", parties=("NLXYZ",), roles=("csp",))
        return await pair(invitation, guest, data, clock=self.clock, random=os.urandom)

    async def refusal(self, guest: Identity = GUEST, **changes: object) -> str:
        with pytest.raises(NotTrusted) as caught:
            await self.pair(guest, **changes)
        return caught.value.reason

    async def busy(self) -> None:
        """Wait until all places are taken: each guest's handshake task blocks in its first receive."""
        while len(self.server._doorway) < PLACES:
            await trio.testing.wait_all_tasks_blocked(0.001)

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.server.port)


@asynccontextmanager
async def open_inn(*, is_open: bool = True) -> AsyncIterator[Inn]:
    clock, invitations = HandClock(real_now_ms()), MemoryInvitations()
    own = contexts(HOST)
    server = PairingServer(
        "127.0.0.1", 0, own, lambda: descriptor_data(HOST), invitations, clock=clock, random=os.urandom
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        await server.set_open(True)
        invitation = Invitation.create(HOST.endpoint_id, f"127.0.0.1:{server.port}", clock.now_ms(), os.urandom)
        invitations.add(invitation)
        if not is_open:
            await server.set_open(False)
        with trio.fail_after(30):
            yield Inn(server, invitations, invitation, clock)
        nursery.cancel_scope.cancel()


async def test_both_keep_each_other_and_see_the_same_six_words() -> None:
    async with open_inn() as inn:
        result = await inn.pair()
        ((joined, words),) = inn.invitations.committed
        assert (result.peer_identity_der, result.peer_descriptor.name) == (HOST.certificate_der, "ABC Charging")
        assert (joined.identity_der, joined.descriptor.name) == (GUEST.certificate_der, "Guest")
        assert result.words == words
        assert len(words) == 6
        assert not result.confirmed


async def test_the_same_key_with_the_same_line_gets_the_same_result() -> None:
    async with open_inn() as inn:
        first = await inn.pair()
        inn.invitations.confirmed = True  # meanwhile the operator has confirmed
        again = await inn.pair()
        assert replace(again, confirmed=False, peer_descriptor_data=b"") == replace(first, peer_descriptor_data=b"")
        assert again.confirmed
        assert len(inn.invitations.committed) == 1


async def test_a_crash_between_the_two_commits_is_mended_by_coming_again() -> None:
    async with open_inn() as inn:
        inn.invitations.crashing = True
        with pytest.raises(TryAgain):
            await inn.pair()
        inn.invitations.crashing = False
        result = await inn.pair()
        assert [words for _, words in inn.invitations.committed] == [result.words]


async def test_another_key_with_a_used_line_is_refused() -> None:
    async with open_inn() as inn:
        await inn.pair()
        assert await inn.refusal(OTHER) == "used"


async def test_two_guests_at_once_and_only_the_first_is_let_in() -> None:
    async with open_inn() as inn:
        outcomes: list[str] = []

        async def come(guest: Identity) -> None:
            try:
                await inn.pair(guest)
                outcomes.append("in")
            except NotTrusted as error:
                outcomes.append(error.reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(come, GUEST)
            nursery.start_soon(come, OTHER)
        assert sorted(outcomes) == ["in", "used"]


async def test_who_does_not_know_the_invitation_is_refused_and_does_not_count() -> None:
    async with open_inn() as inn:
        for _ in range(TRIES_PER_MINUTE + 1):
            assert await inn.refusal(id=b"\0" * 8) == "unknown-invitation"
        assert inn.invitations.tries == []
        await inn.pair()


async def test_a_wrong_secret_is_refused_and_counts() -> None:
    async with open_inn() as inn:
        assert await inn.refusal(secret=b"\0" * 16) == "not-proven"
        assert inn.invitations.tries == [inn.invitation.id]
        assert inn.invitations.committed == []


async def test_ten_tries_a_minute_are_enough() -> None:
    async with open_inn() as inn:
        for _ in range(TRIES_PER_MINUTE):
            assert await inn.refusal(secret=b"\0" * 16) == "not-proven"
        assert await inn.refusal() == "slow-down"
        inn.clock.passed_s += 61
        await inn.pair()


async def test_an_expired_invitation_is_refused_by_both() -> None:
    async with open_inn() as inn:
        inn.clock.at_ms = inn.invitation.expires_ms
        assert await inn.refusal() == "expired"
        assert inn.invitations.tries == [], "the joiner did not even call"
        assert await inn.refusal(expires_ms=inn.clock.at_ms + 1000) == "expired"
        assert inn.invitations.tries == [inn.invitation.id]


async def test_the_wrong_endpoint_at_the_address_learns_nothing() -> None:
    async with open_inn() as inn:
        assert await inn.refusal(endpoint_id=OTHER.endpoint_id) == "wrong-pin"
        assert inn.invitations.tries == []


async def test_nobody_pairs_with_himself() -> None:
    async with open_inn() as inn:
        with pytest.raises(UsageError, match="own"):
            await inn.pair(HOST)


async def test_a_full_disk_refuses_and_the_guest_may_come_again() -> None:
    async with open_inn() as inn:
        inn.invitations.full = True
        assert await inn.refusal() == "failed"
        inn.invitations.full = False
        await inn.pair()


async def test_a_closed_port_says_try_again_and_opens_again_at_the_same_place() -> None:
    async with open_inn(is_open=False) as inn:
        assert not inn.server.is_open
        with pytest.raises(TryAgain, match="ask the partner"):
            await inn.pair()
        for _ in range(3):
            await inn.server.set_open(True)
            await inn.server.set_open(True)
            await inn.server.set_open(False)
        await inn.server.set_open(True)
        await inn.pair()


async def test_a_port_in_use_is_told_to_the_operator_and_the_server_lives_on() -> None:
    async with open_inn() as inn, open_inn(is_open=False) as second:
        second.server.port, free = inn.server.port, second.server.port
        with pytest.raises(OperatorError, match=r"cannot be opened.*pairing\.listen"):
            await second.server.set_open(True)
        second.server.port = free
        await second.server.set_open(True)
        await second.pair()


async def test_a_silent_partner_is_given_up_after_ten_seconds(autojump_clock: trio.testing.MockClock) -> None:
    async def open_silent(host: str, port: int) -> trio.abc.Stream:
        assert (host, port) == ("::1", 7)
        return trio.testing.memory_stream_pair()[0]

    clock = HandClock(real_now_ms())
    invitation = Invitation.create(HOST.endpoint_id, "[::1]:7", clock.now_ms(), os.urandom)
    began = trio.current_time()
    with pytest.raises(TryAgain, match="did not answer within 10 s"):
        await pair(invitation, GUEST, b"", clock=clock, random=os.urandom, open_tcp=open_silent)
    assert trio.current_time() - began < 12


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.0\r\n\r\n", b"\0" * 1000, b""])
async def test_noise_on_the_port_disturbs_nobody(noise: bytes) -> None:
    async with open_inn() as inn:
        async with await inn.connect() as stranger:
            await stranger.send_all(noise)
            await stranger.send_eof()
            with trio.fail_after(5):
                while await stranger.receive_some():
                    pass
        await inn.pair()


@pytest.mark.parametrize("document", [b"\xff" * 8, b"\0\0\0\1\xc1", b"\0\0\0\3\x92\x02\x01", b"\x7f\xff\xff\xff"])
async def test_a_malformed_document_is_refused_with_a_word(document: bytes) -> None:
    async with open_inn() as inn:
        tls = TlsStream.dial_pairing(await inn.connect())
        await tls.handshake()
        documents = DocumentStream(tls)
        await documents.receive()
        await tls.send_all(document)
        assert await documents.receive() == b"\x92\x09\xa9malformed"
        with pytest.raises((trio.BrokenResourceError, PeerError)):
            await documents.receive()
        await tls.aclose()
        await inn.pair()


async def test_those_who_hold_all_places_are_thrown_out_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_inn() as inn:
        with monkeypatch.context() as hurried:
            hurried.setattr(pairing_server, "HANDSHAKE_S", 0.1)
            holders = [await inn.connect() for _ in range(PLACES)]
            for holder in holders:
                async with holder:
                    assert await holder.receive_some() == b""
        await inn.pair()


async def test_those_who_hold_all_places_silently_make_room_for_the_guest() -> None:
    async with open_inn() as inn:
        holders = [await inn.connect() for _ in range(PLACES)]
        await inn.busy()
        await inn.pair()
        for holder in holders:
            await holder.aclose()


async def test_closing_the_port_lets_the_guest_inside_finish() -> None:
    async with open_inn() as inn:
        inn.invitations.go_on = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inn.pair)
            await inn.invitations.found.wait()
            await inn.server.set_open(False)
            inn.invitations.go_on.set()
        assert len(inn.invitations.committed) == 1


async def test_the_words_are_those_of_the_line_and_the_two_keys() -> None:
    async with open_inn() as inn:
        result = await inn.pair()
        line = inn.invitation
        assert result.words == six_words(line.secret, line.id, HOST.endpoint_id, GUEST.endpoint_id)


def test_tries_are_counted_per_address_and_only_so_many_addresses_are_remembered() -> None:
    tries = pairing_server._Tries()
    for _ in range(TRIES_PER_MINUTE):
        assert tries.admit("192.0.2.1", 0.0)
    assert not tries.admit("192.0.2.1", 59.0)
    assert tries.admit("192.0.2.2", 59.0)
    assert tries.admit("192.0.2.1", 60.0)
    for number in range(2 * pairing_server.MAX_REMEMBERED):
        tries.admit(str(number), 60.0)
    assert len(tries._at) == pairing_server.MAX_REMEMBERED
