"""Targets: what peers publish and bill besides what `wire_side` checks, and what comes through a clearing house."""

from collections.abc import Sequence
from functools import cache
from typing import Final

from roamd.backend.examples import OBJECTS
from roamd.clock import rfc3339
from roamd.errors import ProtocolError
from roamd.model.body import merge_patch
from roamd.model.grants import grant_document, grant_view, impossible_grant, sealed, unsealed, why_not
from roamd.model.jsontext import member, tree
from roamd.model.keyedlist import contract_hash, is_marked, key_of, keyed_body, uid_hash
from roamd.model.objects import check_peer_object, check_peer_record
from roamd.model.pricing.check import check_cdr
from roamd.model.statement import Line, account_of, make_statement
from roamd.model.times import time_ms
from roamd.peering.passage import Office, Passage, opened
from roamd.protocol.envelope import Header, Kind, RelayPairs, letter, read_envelope, signed_document
from roamd.protocol.messages import Call
from roamd.roaming.calls import Answered, OutgoingCalls
from roamd.roaming.cursors import CursorSeal, Place
from roamd.roaming.directory import Peer
from roamd.trust.sealing import SealingKey, seal
from tests.fuzz.ledger_side import pair
from tests.model import bodies

KEY: Final = bytes(range(16))
VERSION: Final = "2.3.0"


# --- objects --------------------------------------------------------------------------------------------------------


def grant(data: bytes) -> None:
    """A grant as a peer publishes it: checked, read, compared with what it was, its signature taken off."""
    checked = check_peer_object("grants", VERSION, data)
    view = grant_view(tree(checked.body))  # type: ignore[arg-type]  # it was checked
    impossible_grant(view, view)
    repr(view)
    why_not(view, bodies.STAMP_MS, ("DEABC",), "LOC1", "E1")
    text, signature = unsealed(data)
    for name in ("limits", "info"):
        member(data, name)
    if signature is not None:
        pair().cso.signer.verify(pair().csp.identity.certificate_der, grant_document("A" * 56, text), signature)
        merge_patch(text, b'{"signature":null}')


def grant_seeds() -> list[bytes]:
    """One that is signed, and one that is revoked."""
    text = bodies.text(OBJECTS["grants"])
    return [sealed(text, b"s" * 70), bodies.text({**OBJECTS["grants"], "revoked": True})]


def keyed_card(data: bytes) -> None:
    """A peer's credential, in a keyed list or not, as the whitelist reads it."""
    checked = check_peer_object("user-credentials", VERSION, data)
    key = key_of(checked.body)
    if is_marked(checked.body) and key is not None:
        uid_hash(key, "RFID", "04A1B2C3")
        contract_hash(key, "DE-ABC-C00000042-1")
    keyed_body(KEY, checked.key.sub, checked.key.id, checked.body)


def keyed_card_seeds() -> list[bytes]:
    """The same credential under a key, and plain."""
    token = bodies.text(OBJECTS["user-credentials"])
    key = check_peer_object("user-credentials", VERSION, token).key
    return [keyed_body(KEY, key.sub, key.id, token), token]


# --- money ----------------------------------------------------------------------------------------------------------


def account(data: bytes) -> None:
    """A peer's record: what it adds to a month, whatever stands in it, and what it should have cost by its tariffs.

    `roaming.accounts` takes a ValueError, KeyError or TypeError as an account that cannot be made.
    """
    record = check_peer_record(VERSION, data)
    try:
        found = account_of("CREDIT" if record.credit else record.kind, record.body)
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(0, "it is none") from error
    line = Line("A" * 56, record.party, record.id, record.kind, bytes(32), "DELIVERED", found)
    make_statement(found.month, ("A" * 56, "B" * 56), [line, line]).pack()
    if record.kind == "CDR":
        check_cdr(tree(record.body))  # type: ignore[arg-type]  # it was checked


PRICED = {"FLAT": 1, "ENERGY": 0.25, "TIME": 2, "PARKING_TIME": 5}


def account_seeds() -> list[bytes]:
    """An SDR, a credit, and a CDR with a tariff that has hours and steps."""
    components = [{"type": kind, "price": price, "step_size": 60} for kind, price in PRICED.items()]
    hours = {"start_time": "08:00", "end_time": "20:00", "day_of_week": ["MONDAY"]}
    elements = [{"price_components": components, "restrictions": hours}, {"price_components": components}]
    return [
        bodies.text(bodies.sdr()),
        bodies.text(bodies.cdr(credit=True, credit_reference_id="C-1", total_cost={"before_taxes": -5})),
        bodies.text(cdr_with(elements)),
    ]


def cdr_with(elements: Sequence[object], hours: int = 30) -> dict[str, object]:
    """A CDR of some hours that brings a tariff of these elements."""
    head = {"country_code": "DE", "party_id": "ABC", "id": "T-1", "currency": "EUR", "last_updated": bodies.STAMP}
    tariff = {**head, "elements": elements, "tax_included": "NO"}
    used = [{"type": "ENERGY", "volume": 15.25}, {"type": "TIME", "volume": hours}]
    period = {"start_date_time": bodies.STAMP, "dimensions": used, "tariff_id": "T-1"}
    end = time_ms(bodies.STAMP) + hours * 3_600_000
    return bodies.cdr(tariffs=[tariff], charging_periods=[period], end_date_time=rfc3339(end))


# --- a clearing house -----------------------------------------------------------------------------------------------


class _Carrier(OutgoingCalls):
    """Takes what a passage wants to send, and answers nothing."""

    def __init__(self) -> None:
        pass

    def start(self, peer: Peer, call: Call, deadline_at: float, done: Answered) -> None:
        pass


@cache
def _sealing_key(number: int) -> SealingKey:
    return SealingKey.of_seed(bytes([number]) * 48)


def envelope(data: bytes) -> None:
    """What a clearing house brings, by the first byte: an envelope, one whose letter opens, or who may be relayed."""
    choice, body = (data[0], data[1:]) if data else (0, b"")
    match choice % 3:
        case 0:
            header, carried = read_envelope(body)
            _open(header, carried)
        case 1:
            header = _header(Kind(choice // 3 % 5 + 1))
            _open(header, seal(_sealing_key(1).public, body, header.packed()))
        case _:
            RelayPairs.unpack(body)


def _open(header: Header, carried: bytes) -> None:
    """As `peering.relayed` and a passage do that is open, and as one that waits for its beginning."""
    both = pair()
    peer = both.csp.peer("abc")
    office = Office(both.csp.clock, both.csp.signer, _Carrier(), both.csp.random, lambda passage: None)
    passage = Passage(office, peer, peer, header.epoch, _sealing_key(1))
    passage.take(header, carried, lambda status, said: None)
    passage.close()
    opened(both.csp.signer, _sealing_key(1), peer, header, carried, both.csp.clock.now_ms())


def _header(kind: Kind, sequence: int = 0) -> Header:
    both = pair()
    ids = both.cso.identity.endpoint_id, both.csp.identity.endpoint_id
    return Header(*ids, b"I" * 16, b"E" * 16, sequence, bodies.STAMP_MS + 30_000, kind)


def envelope_seeds() -> list[bytes]:
    """Each kind whole, the letter alone, and a list."""
    contents = {Kind.OPEN: _sealing_key(2).public, Kind.ACCEPT: _sealing_key(2).public, Kind.DATA: b"x", Kind.END: b""}
    seeds = []
    for kind, content in contents.items():
        header = _header(kind)
        said = letter(pair().cso.identity.sign(signed_document(header, content)), content)
        seeds.append(b"\0" + header.envelope(seal(_sealing_key(1).public, said, header.packed())))
        seeds.append(bytes([1 + 3 * (kind - 1)]) + said)
    return [*seeds, b"\2" + RelayPairs(["A" * 56], pairing=True).pack()]


# --- a follower -----------------------------------------------------------------------------------------------------


@cache
def _seal() -> CursorSeal:
    return CursorSeal(bytes(32))


def feed_cursor(data: bytes) -> None:
    """A cursor that a follower gives back."""
    if _seal().open("abc", "locations", data) is None:
        raise ProtocolError(0, "it does not open")


def feed_cursor_seeds() -> list[bytes]:
    """One of ours."""
    return [_seal().seal("abc", "locations", Place(b"r" * 16, 7, 1, 0))]
