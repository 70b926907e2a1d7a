"""`roamd pair LINE`: the joining end of the pairing handshake (see `roamd.trust.pairing`), as one call."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import trio

from roamd.clock import Clock
from roamd.errors import NotTrusted, TryAgain, UsageError
from roamd.peering.pairing_stream import DocumentStream
from roamd.peering.tls import TlsStream
from roamd.trust.descriptor import Descriptor
from roamd.trust.identity import Identity
from roamd.trust.invitation import Invitation
from roamd.trust.pairing import REFUSALS, Joined, Joiner
from roamd.trust.words import six_words

PATIENCE_S: Final = 10.0
"""DESIGN section 7: `pair` gives up after 10 s."""

OpenTcp = Callable[[str, int], Awaitable[trio.abc.Stream]]


@dataclass(frozen=True, slots=True)
class PairingResult:
    """The partner, proven. `confirmed` is False while the inviting operator has yet to confirm."""

    peer_descriptor: Descriptor
    peer_descriptor_data: bytes = field(repr=False)
    peer_identity_der: bytes = field(repr=False)
    words: tuple[str, ...]
    confirmed: bool


async def pair(
    invitation: Invitation,
    identity: Identity,
    descriptor_data: bytes,
    *,
    clock: Clock,
    random: Callable[[int], bytes],
    open_tcp: OpenTcp = trio.open_tcp_stream,
) -> PairingResult:
    """Prove each other to the inviter; the caller commits the result. `descriptor_data` is the own signed descriptor.

    `open_tcp` is given host and port, or, where the invitation leads through a clearing house, that one's endpoint id.

    Raises UsageError for the own invitation; TryAgain when the partner cannot be reached or is silent for too long;
    NotTrusted or another PeerError when it is not who it should be or refuses. After any failure, and after a crash
    before the caller's commit, the same call gets the same result until the invitation expires.
    """
    if invitation.endpoint_id == identity.endpoint_id:
        raise UsageError(
            "This invitation is this endpoint's own. Send the line to the partner, who runs `roamd pair` there."
        )
    if clock.now_ms() >= invitation.expires_ms:
        raise NotTrusted("expired", REFUSALS["expired"])
    try:
        with trio.fail_after(PATIENCE_S):
            inviter, confirmed = await _shake_hands(invitation, identity, descriptor_data, clock, random, open_tcp)
    except trio.TooSlowError as error:
        raise TryAgain(f"{invitation.address} did not answer within {PATIENCE_S:.0f} s. Try again.") from error
    except (OSError, trio.BrokenResourceError) as error:
        raise TryAgain(
            f"{invitation.address} cannot be reached ({error}). Its pairing port is open only while an invitation is: "
            "ask the partner whether it still is, and whether the address is right."
        ) from error
    words = await trio.to_thread.run_sync(
        six_words, invitation.secret, invitation.id, invitation.endpoint_id, identity.endpoint_id
    )
    return PairingResult(inviter.descriptor, inviter.descriptor_data, inviter.identity_der, words, confirmed)


async def _opened(invitation: Invitation, open_tcp: OpenTcp) -> trio.abc.Stream:
    if invitation.relay_id is not None:
        return await open_tcp(invitation.relay_id, 0)
    host, _, port = invitation.address.rpartition(":")
    return await open_tcp(host.strip("[]"), int(port))


async def _shake_hands(
    invitation: Invitation,
    identity: Identity,
    descriptor_data: bytes,
    clock: Clock,
    random: Callable[[int], bytes],
    open_tcp: OpenTcp,
) -> tuple[Joined, bool]:
    async with aclosing(TlsStream.dial_pairing(await _opened(invitation, open_tcp))) as tls:
        await tls.handshake()
        documents = DocumentStream(tls)
        joiner = Joiner(invitation, identity, descriptor_data, tls.peer_leaf_der, random)
        await documents.send(joiner.read_greeting(await documents.receive(), clock.now_ms()))
        handover, inviter = joiner.read_proof(await documents.receive())
        await documents.send(handover)
        return inviter, joiner.read_outcome(await documents.receive())
