"""What two companies allow each other: per peer, per direction, and nothing that is not named.

An agreement is one side's own settings for one peer. "Out" is what we do towards the peer, "in" what the peer may do
towards us; the peer has its own, so what happens is what both allow. It begins with a preset; a document that both have
signed (`model.agreementdocument`) takes its place.
"""

from collections.abc import Iterable

import msgspec

from roamd.model.ids.party import parse_party
from roamd.model.roles import FEEDS, RECORD_KINDS, ROLES, SERVICES
from roamd.model.terms import Terms


class _InCurrency(msgspec.Struct):
    currency: str = ""


class Agreement(msgspec.Struct, frozen=True, omit_defaults=True):
    """One peer's rights and ours towards it. JSON text by `to_json`; names that later versions add are ignored.

    `unknown_cards_per_minute`: questions about cards that we do not know, which tell the asker which cards are about;
    None is the configuration's rate. `withheld`: fields of our objects that the peer is not sent, by feed; that is our
    own affair and stands in no document. `number` is that of the signed document, None for the preset.
    `keyed_list`: it is sent our user credentials under hashes of its own (`model.keyedlist`). `pseudonyms`: it is told
    our contracts by names of its own (`model.pseudonyms`). `introduce`: it and the others that have this are told of
    each other (`roaming.vouch`). `routes`: by which ways we reach it (`model.routes`). No document says so either.
    """

    our_roles: tuple[str, ...]
    their_roles: tuple[str, ...]
    parties: tuple[str, ...]
    evse_prefixes: tuple[str, ...]
    contract_prefixes: tuple[str, ...]
    feeds_out: tuple[str, ...] = ()
    feeds_in: tuple[str, ...] = ()
    services_out: tuple[str, ...] = ()
    services_in: tuple[str, ...] = ()
    records_out: tuple[str, ...] = ()
    records_in: tuple[str, ...] = ()
    unknown_cards_per_minute: int | None = None
    terms: Terms = Terms()
    withheld: dict[str, tuple[str, ...]] = {}
    number: int | None = None
    keyed_list: bool = False
    introduce: bool = False
    routes: dict[str, tuple[str, ...]] = {}
    pseudonyms: bool = False

    def to_json(self) -> bytes:
        """The text that the store keeps."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, text: bytes) -> "Agreement":
        """Raises msgspec.ValidationError when the text is not an agreement."""
        return msgspec.json.decode(text, type=cls)


def preset(our_roles: Iterable[str], their_roles: Iterable[str], their_parties: Iterable[str]) -> Agreement:
    """The agreement of a new pair: everything that the two sides' roles are for, and the peer owns its party ids.

    Raises ValueError for a party or role that is none.
    """
    ours, theirs = _known_roles(our_roles), _known_roles(their_roles)
    parties = tuple(dict.fromkeys(parse_party(party).canonical for party in their_parties))
    return Agreement(
        our_roles=ours,
        their_roles=theirs,
        parties=parties,
        evse_prefixes=parties if "cso" in theirs else (),
        contract_prefixes=parties if "csp" in theirs else (),
        feeds_out=tuple(f.name for f in FEEDS.values() if f.publisher_role in ours and f.follower_role in theirs),
        feeds_in=tuple(f.name for f in FEEDS.values() if f.publisher_role in theirs and f.follower_role in ours),
        services_out=tuple(s.name for s in SERVICES.values() if s.asker_role in ours and s.answerer_role in theirs),
        services_in=tuple(s.name for s in SERVICES.values() if s.asker_role in theirs and s.answerer_role in ours),
        records_out=tuple(r.name for r in RECORD_KINDS.values() if r.author_role in ours and r.receiver_role in theirs),
        records_in=tuple(r.name for r in RECORD_KINDS.values() if r.author_role in theirs and r.receiver_role in ours),
    )


def not_agreed(agreement: Agreement, clause: str) -> str:
    """Why something is refused, in the words of every refusal: the clause, and the agreement that it stands in."""
    source = "preset" if agreement.number is None else f"agreement {agreement.number}"
    return f"not agreed: {clause} ({source})"


def may_publish(agreement: Agreement, feed: str) -> bool:
    """Whether we publish this feed to the peer."""
    return feed in agreement.feeds_out


def may_follow(agreement: Agreement, feed: str) -> bool:
    """Whether we mirror this feed of the peer."""
    return feed in agreement.feeds_in


def may_ask(agreement: Agreement, service: str) -> bool:
    """Whether we ask the peer this kind of question."""
    return service in agreement.services_out


def may_be_asked(agreement: Agreement, service: str) -> bool:
    """Whether the peer may ask us this kind of question."""
    return service in agreement.services_in


def may_send_record(agreement: Agreement, kind: str) -> bool:
    """Whether our records of this kind go to the peer."""
    return kind in agreement.records_out


def may_receive_record(agreement: Agreement, kind: str) -> bool:
    """Whether the peer's records of this kind are taken."""
    return kind in agreement.records_in


def in_agreed_currency(agreement: Agreement, record: bytes) -> bool:
    """Whether a checked record's text is in one of the agreed currencies; without any, every one is."""
    agreed = agreement.terms.currencies
    return not agreed or msgspec.json.decode(record, type=_InCurrency).currency in agreed


def owns_party(agreement: Agreement, party: str) -> bool:
    """Whether a canonical party is the peer's own."""
    return party in agreement.parties


def owns_contract(agreement: Agreement, contract: str) -> bool:
    """Whether a canonical contract id begins with one of the peer's prefixes."""
    return contract.startswith(agreement.contract_prefixes)


def owns_evse(agreement: Agreement, evse: str) -> bool:
    """Whether a canonical EVSE id, with or without stars, begins with one of the peer's prefixes."""
    return evse.replace("*", "").startswith(agreement.evse_prefixes)


def _known_roles(roles: Iterable[str]) -> tuple[str, ...]:
    given = frozenset(roles)
    if unknown := given.difference(ROLES):
        raise ValueError(f"not a role: {', '.join(sorted(unknown))}; roles are {', '.join(ROLES)}")
    return tuple(role for role in ROLES if role in given)
