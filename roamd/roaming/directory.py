"""The paired endpoints in memory: who they are, what the agreement lets them do, and who owns an identifier.

Rows come from the store at the start and change only by `put` and `remove`, after the commit. Look-ups by prefix are
on the way of every authorization and record, so they are dictionaries.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from roamd.errors import Conflict, NotFound
from roamd.model.agreement import Agreement
from roamd.model.ids.contract import provider_in
from roamd.storage.peers import PeerRow
from roamd.trust.succession import Succession, read_succession

if TYPE_CHECKING:
    from roamd.protocol.messages import Answer, Call
    from roamd.roaming.dispatch import Exchange

    Way = Callable[["Peer", Call, float, Callable[[Answer | None], None]], None]
    """Asks a question by a monotonic deadline; the answer, or None, comes once (as `calls.OutgoingCalls.start`)."""

PAIRED, PENDING, SUSPENDED = "PAIRED", "PENDING", "SUSPENDED"

ALARMS_KEPT = 20
"""Of one peer, the newest; all of them stand in the log."""


@dataclass(slots=True)
class Peer:
    """One other endpoint; `exchange` is what runs over its link, None while the link is down.

    Where it has several routes (`model.routes`), `exchange` carries the calls; `elsewhere` has the functions that do
    not go the same way, and `others` are the exchanges of further routes that are up.
    """

    row: PeerRow
    agreement: Agreement
    succession: Succession
    exchange: "Exchange | None" = None
    elsewhere: "dict[str, Exchange | None]" = field(default_factory=dict)
    others: "tuple[Exchange, ...]" = ()
    last_error: str | None = None
    last_up_ms: int | None = None
    skew_ms: int | None = None
    alarms: list[str] = field(default_factory=list)
    way: "Way | None" = None
    """How a partner is asked that runs no roamd and speaks plain OCPI (`plainocpi`); it never has an exchange."""
    follower: object | None = None
    """The follower that began last, over whichever link: only its chunks are taken (see `follower`)."""
    mending: trio.Lock = field(default_factory=trio.Lock, repr=False)
    """Held while a rollback towards it is mended: one link does it for all."""

    @property
    def label(self) -> str:
        return self.row.peer

    @property
    def endpoint_id(self) -> str:
        return self.row.endpoint_id

    def keys(self, now_ms: int) -> tuple[bytes, ...]:
        """The identity certificates whose signatures are taken now, the one in use first (`trust.succession`)."""
        return self.succession.taken(now_ms)

    def alarm(self, text: str) -> None:
        """Note what the operator should look at; what was said before moves to the end."""
        self.alarms[:] = [*(known for known in self.alarms if known != text), text][-ALARMS_KEPT:]

    def carrier(self, function: str) -> "Exchange | None":
        """The exchange over which a function goes (one of `model.routes`), None while none of its routes is up."""
        return self.elsewhere.get(function, self.exchange)

    def exchanges(self) -> "tuple[Exchange, ...]":
        """Those of all routes that are up."""
        return self.others if self.exchange is None else (self.exchange, *self.others)

    def published(self, feed: str) -> None:
        """We published something; the peer follows over whichever link it likes."""
        for exchange in self.exchanges():
            exchange.published(feed)

    def wake(self) -> None:
        """What it may see has changed."""
        for exchange in self.exchanges():
            exchange.wake()

    @property
    def reachable(self) -> bool:
        """Whether a question can be sent to it now."""
        return self.exchange is not None or self.way is not None

    @property
    def active(self) -> bool:
        """Whether anything may be exchanged with it at all."""
        return self.row.state == PAIRED


class Directory:
    """All peers, by label, endpoint and owned prefix."""

    def __init__(self) -> None:
        self._by_label: dict[str, Peer] = {}
        self._by_endpoint: dict[str, Peer] = {}
        self._plain: dict[str, Peer] = {}
        self._contract_owners: dict[str, tuple[Peer, ...]] = {}
        self.list_keys: Mapping[str, tuple[bytes, ...]] = {}
        """By label, the keys of peers' keyed lists (`privacy.keyed`); replaced as a whole."""

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._by_label.values()))

    def __len__(self) -> int:
        return len(self._by_label)

    def put(self, row: PeerRow) -> Peer:
        """Add a peer or replace its row; the running exchange is kept."""
        agreement, succession = Agreement.from_json(row.agreement_json), succession_of_row(row)
        peer = self._by_label.get(row.peer)
        if peer is None:
            peer = self._by_label[row.peer] = Peer(row, agreement, succession)
        else:
            self._by_endpoint.pop(peer.endpoint_id, None)
            peer.row, peer.agreement, peer.succession = row, agreement, succession
        self._by_endpoint[row.endpoint_id] = peer
        self._index()
        return peer

    def remove(self, label: str) -> None:
        """Forget a peer; its exchange must be down."""
        peer = self._by_label.pop(label)
        self._by_endpoint.pop(peer.endpoint_id, None)
        self._index()

    def put_plain(self, peer: Peer) -> None:
        """Add a partner without roamd, or replace it. It owns contracts and is found by its label, and is no endpoint:
        whoever goes through the directory does not meet it.
        """
        self._plain[peer.label] = peer
        self._index()

    def remove_plain(self, label: str) -> None:
        """Forget a partner without roamd."""
        del self._plain[label]
        self._index()

    @property
    def plain(self) -> tuple[Peer, ...]:
        """The partners without roamd."""
        return tuple(self._plain.values())

    def is_plain(self, label: str | None) -> bool:
        """Whether this label is a partner's without roamd."""
        return label in self._plain

    def find(self, label: str) -> Peer | None:
        """The peer of that label, also one without roamd."""
        return self._by_label.get(label) or self._plain.get(label)

    def paired(self, label: str) -> Peer:
        """The peer of that label that runs roamd; raises NotFound, and Conflict for one without."""
        if self.is_plain(label):
            raise Conflict(
                f"{label!r} is a partner that speaks plain OCPI: there is no such thing with it.", code="plain-ocpi"
            )
        return self.get(label)

    def get(self, label: str) -> Peer:
        """The peer of that label, also one without roamd; raises NotFound."""
        peer = self.find(label)
        if peer is None:
            raise NotFound(f"There is no peer {label!r}; `roamd peers` lists them.", code="unknown-peer")
        return peer

    def by_endpoint(self, endpoint_id: str) -> Peer | None:
        """The peer of that endpoint id."""
        return self._by_endpoint.get(endpoint_id)

    def contract_owners(self, prefix: str | None) -> tuple[Peer, ...]:
        """The peers that own a five-character contract prefix; more than one means that nobody is sure."""
        return self._contract_owners.get(prefix, ()) if prefix else ()

    def home_of(self, contract_id: str | None, party: str | None) -> tuple[Peer, ...]:
        """The home-CSP of a credential: owner of the contract id's prefix, else of the party (DESIGN section 8)."""
        return self.contract_owners(provider_of(contract_id)) or self.contract_owners(party)

    def label_for(self, name: str, is_spent: Callable[[str], bool] = lambda label: False) -> str:
        """A free label made of a company's name; `is_spent` says which free ones must not be used."""
        base = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")[:32] or "peer"
        labels = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
        return next(label for label in labels if self.find(label) is None and not is_spent(label))

    def _index(self) -> None:
        owners: dict[str, list[Peer]] = {}
        for peer in (*self._by_label.values(), *self._plain.values()):
            # Whom the operator has not confirmed yet owns nothing. A suspended one does: what is queued for it waits.
            for prefix in peer.agreement.contract_prefixes if peer.row.state != PENDING else ():
                owners.setdefault(prefix, []).append(peer)
        self._contract_owners = {prefix: tuple(peers) for prefix, peers in owners.items()}


def succession_of_row(row: PeerRow) -> Succession:
    """All identities of a peer. What was checked when it was stored is read anew only where there is more than one."""
    if row.succession:
        return read_succession(row.succession, row.identity_der)
    return Succession.sole(row.endpoint_id, row.identity_der)


def provider_of(contract_id: str | None) -> str | None:
    """The canonical party in a contract id's prefix, or None when it has none."""
    return provider_in(contract_id) if contract_id else None
