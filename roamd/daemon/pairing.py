"""Invitations and pairing, where trust, peering and the peer book meet."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio

from roamd.clock import Clock, rfc3339
from roamd.config.schema import Config
from roamd.config.values import Address
from roamd.errors import Conflict, NotFound
from roamd.log import get_logger
from roamd.model.roles import CLEARING_HOUSE
from roamd.peering.pairing_client import OpenTcp, pair
from roamd.peering.pairing_server import OpenInvitation, PairingServer
from roamd.roaming.directory import PAIRED, PENDING, Directory, Peer
from roamd.roaming.peerbook import PeerBook
from roamd.roaming.waiting import write
from roamd.storage import peers
from roamd.storage.peers import InvitationRow
from roamd.storage.store import Cx, Store
from roamd.trust.identity import Identity
from roamd.trust.invitation import Invitation, relay_in, through
from roamd.trust.pairing import Joined

log = get_logger()

HOUR_MS = 3600 * 1000


@dataclass(slots=True)
class StoredInvitations:
    """The pairing server's view of the store (peering.pairing_server.Invitations)."""

    store: Store
    book: PeerBook

    async def find(self, invitation_id: bytes) -> OpenInvitation | None:
        row = self.store.read(lambda cx: peers.get_invitation(cx, invitation_id))
        return None if row is None else OpenInvitation(row.id, row.secret, row.expires_ms, row.used_by)

    async def record_try(self, invitation_id: bytes) -> None:
        log.info("invitation_tried", invitation=invitation_id.hex())

    async def complete(self, invitation_id: bytes, joined: Joined, words: tuple[str, ...]) -> bool:
        """One transaction: the invitation is used, the partner is in the book."""
        row = self.store.read(lambda cx: peers.get_invitation(cx, invitation_id))
        if row is None:
            raise NotFound("The invitation is gone.")
        joiner = joined.descriptor.endpoint_id

        def use(cx: Cx) -> None:
            if not peers.use_invitation_txn(cx, invitation_id, joiner, " ".join(words).encode()):
                raise Conflict("Another endpoint has used the invitation.", code="invitation-used")

        peer = await self.book.pair(
            joined.descriptor, joined.descriptor_data, words, confirmed=row.auto, joined_by_us=False, also=use,
            via=self._house_in(row.address),
        )  # fmt: skip
        return peer.row.state == PAIRED

    def _house_in(self, address: str) -> str | None:
        relay_id = relay_in(address)
        relay = self.book.directory.by_endpoint(relay_id) if relay_id is not None else None
        return relay.label if relay is not None else None


@dataclass(slots=True)
class PairingDesk:
    """Handles invite, invites, pair and pairing for the operator; opens the pairing port while it must be.

    `pipe` leads through a clearing house to an endpoint; `opened` is told that the port was opened or closed.
    """

    config: Config
    clock: Clock
    store: Store
    directory: Directory
    book: PeerBook
    identity: Identity
    server: PairingServer
    descriptor: Callable[[], bytes]
    random: Callable[[int], bytes]
    pipe: Callable[[Peer, str], trio.abc.Stream]
    opened: Callable[[], None]

    async def open_port_if_needed(self) -> None:
        """The port is open exactly while an invitation can still be followed."""
        now_ms = self.clock.now_ms()
        await write(self.store, lambda cx: peers.delete_expired_txn(cx, now_ms), essential=True)
        wanted = bool(self.store.read(peers.list_invitations))
        if wanted != self.server.is_open:
            await self.server.set_open(wanted)
            self.opened()
            log.info("pairing_port_opened" if wanted else "pairing_port_closed", port=self.server.port)

    def _address(self, via: str | None) -> str:
        """What an invitation carries; Conflict where nobody could reach us like that."""
        if via is not None:
            return through(self._house(self.directory.get(via)).endpoint_id)
        address = advertised_pairing(self.config)
        if address is None:
            raise Conflict(
                "This endpoint has no address that a partner could reach: ask the partner to invite, "
                "or set link.advertise (roamd init --advertise), or name a clearing house (roamd invite --via).",
                code="dial-only",
            )
        return str(address)

    def _house(self, relay: Peer) -> Peer:
        if CLEARING_HOUSE not in relay.agreement.their_roles:
            raise Conflict(f"{relay.label} is no clearing house.", code="no-clearing-house")
        return relay

    async def invite(self, *, auto: bool, hours: float, via: str | None = None) -> dict[str, Any]:
        """{line, id, address, expires_at, auto}; `via`: the label of a clearing house that leads to us.

        Conflict where nobody could reach us.
        """
        address = self._address(via)
        invitation = Invitation.create(
            self.identity.endpoint_id, address, self.clock.now_ms(), self.random, int(hours * HOUR_MS)
        )
        row = InvitationRow(
            invitation.id, invitation.secret, invitation.expires_ms, auto, None, None, invitation.address
        )
        await write(self.store, lambda cx: peers.put_invitation_txn(cx, row))
        await self.open_port_if_needed()
        log.info("invitation_made", invitation=invitation.id.hex(), auto=auto)
        return {"line": invitation.line(), **_invitation(row)}

    def invites(self) -> dict[str, Any]:
        """The open invitations, without their secrets."""
        rows = self.store.read(peers.list_invitations)
        return {"items": [_invitation(row) for row in rows], "next": None}

    async def pair(self, line: str, label: str | None) -> dict[str, Any]:
        """Follow a partner's line: {peer, name, parties, words, state}."""
        invitation = Invitation.parse(line)
        if invitation.endpoint_id == self.identity.endpoint_id:
            raise Conflict(
                "This is an invitation of this very endpoint; the partner has to follow it.", code="own-line"
            )
        relay = self._relay_of(invitation)
        result = await pair(
            invitation, self.identity, self.descriptor(), clock=self.clock, random=self.random,
            open_tcp=trio.open_tcp_stream if relay is None else self._opener(relay, invitation.endpoint_id),
        )  # fmt: skip
        peer = await self.book.pair(
            result.peer_descriptor,
            result.peer_descriptor_data,
            result.words,
            confirmed=True,
            joined_by_us=True,
            label=label,
            via=relay.label if relay is not None else None,
        )
        return pairing_of(peer, confirmed=result.confirmed)

    def _relay_of(self, invitation: Invitation) -> Peer | None:
        """The clearing house that the invitation leads through; Conflict when we have no link to it."""
        if invitation.relay_id is None:
            return None
        relay = self.directory.by_endpoint(invitation.relay_id)
        if relay is None or relay.exchange is None:
            raise Conflict(
                "The invitation leads through a clearing house that this endpoint is not linked with; pair with that "
                f"first: {invitation.relay_id}.",
                code="no-clearing-house",
            )
        return self._house(relay)

    def _opener(self, relay: Peer, endpoint_id: str) -> OpenTcp:
        async def open_pipe(host: str, port: int) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            return self.pipe(relay, endpoint_id)

        return open_pipe

    def pairing(self, label: str) -> dict[str, Any]:
        """How far a pairing is."""
        peer = self.directory.get(label)
        return pairing_of(peer, confirmed=not peer.row.joined_by_us or peer.last_up_ms is not None)


def advertised_pairing(config: Config) -> Address | None:
    """What invitations carry: pairing.advertise, else the host of link.advertise with the port of pairing.listen."""
    if config.pairing.advertise is not None:
        return config.pairing.advertise
    if config.link.advertise is None:
        return None
    return Address(config.link.advertise.host, config.pairing.listen.port)


def pairing_of(peer: Peer, *, confirmed: bool) -> dict[str, Any]:
    """A pairing as the API shows it. On the joiner's side it is PENDING until the inviter has confirmed."""
    state = PENDING if peer.row.state == PAIRED and not confirmed else peer.row.state
    return {
        "peer": peer.label,
        "name": peer.row.name,
        "parties": list(peer.row.parties),
        "endpoint_id": peer.endpoint_id,
        "words": peer.row.words,
        "state": state,
    }


def _invitation(row: InvitationRow) -> dict[str, Any]:
    return {
        "id": row.id.hex(),
        "address": row.address,
        "expires_at": rfc3339(row.expires_ms),
        "auto": row.auto,
        "used_by": row.used_by,
    }
