"""Whose card is it? A compact set of cards that answers "perhaps" or "surely not" and lists nobody.

Theory of operation. A CSP's cards go by *names*: the canonical uid, whatever the token's type, and the contract id
where its prefix does not lead to the CSP anyway. A name's *digest* is the first half of a SHA-256; a *mark* is the
digest under the peer's own key (one AES block, so that a million marks are one call). Cards are spread over 2^depth
*segments* by the first bits of their digests, so that a new card changes one segment, for every peer the same one.

A segment of n cards maps each mark to one of 256 n values, of which the upper part is a bucket (there are n) and the
low eight bits are kept. The values in order are an Elias-Fano list: the low bytes one after the other, and for each
bucket as many ones as it has values and then a zero. That is 10 bits a card, exactly, and answers wrongly "perhaps" for
one foreign card in 256, like a Golomb-Rice coded set or a fuse filter of eight bits. What decided for it: it is made by
sorting, ten times faster than peeling in plain Python; it needs no seed that may fail; and no bytes whatever make a
segment that claims more than one in 256 of the cards that are asked about, so no peer can claim everyone's.

What it hides and what not: a peer holds its own key, so it can try uids. All uids of 4 bytes are tried in minutes on
one machine, whatever the hash; only for uids of 7 bytes and more and for contract ids is a filter no list. It is
another list for each peer, but peers that put theirs together find what all of them match: the cards.
"""

import binascii
import re
import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable
from hashlib import sha256
from typing import Annotated, Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from msgspec import Meta

from roamd.model.ids.contract import ContractId, parse_contract_id
from roamd.model.ids.rfid import parse_rfid

DIGEST: Final = 16
KEY: Final = 16
MAX_CARDS: Final = 65_535
"""In one segment; its buckets are counted in 16 bits."""
MAX_DEPTH: Final = 16
NEW: Final = "NEW"
"""The id of the object with the cards that are in no segment yet."""

_PREFIX: Final = b"roamd card 1".ljust(16, b"\0")
_WORD: Final = 8  # bytes: about 32 buckets
_WINDOW: Final = 2 * _WORD
_SEGMENT_ID: Final = re.compile(r"(0|[1-9]\d?)-(0|[1-9]\d{0,4})", re.ASCII)

Marker = Callable[[bytes], bytes]
"""Gives the marks of digests, 16 bytes each, as many as there are."""


# --- names ------------------------------------------------------------------------------------------------------


class Name(NamedTuple):
    """One way to name a card; `provider` is the party in a contract id's prefix, None where there is none."""

    text: str
    provider: str | None


def names_of(uid: str, contract_id: str | None) -> tuple[Name, ...]:
    """How a published credential is named, each name once. A contract id of no known form is never read from a car."""
    contract = _name(contract_id) if contract_id else None
    return tuple(dict.fromkeys((_name(uid), *([contract] if contract and contract.provider else []))))


def names_asked(uid: str, contract_id: str | None) -> tuple[Name, ...]:
    """Every name under which a credential at hand may have been published: a contract id has several forms."""
    texts = (uid, contract_id) if contract_id else (uid,)
    return tuple(dict.fromkeys(name for text in texts for name in _names(text)))


def digest(name: str) -> bytes:
    """The 16 bytes that stand for a name. They are no secret and no pseudonym: whoever knows the name knows them."""
    return sha256(_PREFIX + name.encode(errors="replace")).digest()[:DIGEST]


def _name(text: str) -> Name:
    return _names(text)[0]


def _names(text: str) -> list[Name]:
    """The canonical form, and of a contract id also those that it has elsewhere; RFID first, the narrower form."""
    try:
        return [Name(parse_rfid(text, wide=True).canonical, None)]
    except ValueError:
        contract: ContractId = parse_contract_id(text)
        return [Name(alias, contract.provider) for alias in contract.aliases]


def marker(key: bytes) -> Marker:
    """The marks under a peer's key (16 bytes). Not for two threads at a time.

    Each block is a digest of its own and none is ever decrypted: AES serves as a keyed function, not to hide a text.
    """
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # noqa: S305


# --- one segment ------------------------------------------------------------------------------------------------


def pack_cards(marks: bytes) -> bytes:
    """The segment of these marks, in whatever order. Raises ValueError for more than MAX_CARDS."""
    count = len(marks) // DIGEST
    if count > MAX_CARDS:
        raise ValueError(f"{count} cards are more than {MAX_CARDS}.")
    span = count << 8
    values = [mark * span >> 32 for mark in _words(marks)[:: DIGEST // 4].tolist()]
    values.sort()
    buckets = bytearray(b"0") * _high_bits(count)
    for before, value in enumerate(values):
        buckets[(value >> 8) + before] = 49  # "1"
    high = int(buckets, 2).to_bytes(len(buckets) // 8, "big") if count else b""
    return high + _low(values)


def _words(marks: bytes) -> "memoryview[int]":
    """Four bytes each, the first the lowest."""
    words = array("I", marks)
    if sys.byteorder == "big":
        words.byteswap()
    return memoryview(words)


def _low(values: list[int]) -> bytes:
    """The lowest byte of each value."""
    words = array("I", values)
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()[:: words.itemsize]


def _high_bits(count: int) -> int:
    """A one for each card, a zero for each bucket, filled with zeros to whole bytes."""
    return (2 * count + 7) // 8 * 8


class Segment:
    """A packed segment that can be asked. Takes 1.25 bytes a card, and 2 for each 32 cards to find a bucket by."""

    __slots__ = ("_high", "_low", "_zeros", "cards")

    def __init__(self, cards: int, packed: bytes) -> None:
        """Raises ValueError when the bytes are no segment of so many cards: a peer may have made them."""
        high = _high_bits(cards) // 8
        if not 0 <= cards <= MAX_CARDS or len(packed) != high + cards:
            raise ValueError("the filter's length does not fit its number of cards")
        self.cards = cards
        self._high, self._low = packed[:high], packed[high:]
        ones = [
            int.from_bytes(self._high[at : at + _WORD], "big").bit_count() for at in range(0, len(self._high), _WORD)
        ]
        if sum(ones) != cards:
            raise ValueError("the filter's buckets hold another number of cards")
        self._zeros = array("H" if cards < MAX_CARDS else "I")
        zeros = 0
        for count in ones:
            self._zeros.append(zeros)
            zeros += 8 * _WORD - count

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self._high) + len(self._low) + len(self._zeros) * self._zeros.itemsize

    def might_hold(self, mark: bytes) -> bool:
        """Whether a card with this mark may be in it."""
        if not self.cards:
            return False
        value = int.from_bytes(mark[:4], "little") * (self.cards << 8) >> 32
        bucket = value >> 8
        # The word with the last zero before the bucket's ones; the bucket number 0 begins at the very beginning.
        word = bisect_right(self._zeros, bucket - 1) - 1 if bucket else 0
        skipped = bucket - self._zeros[word]
        ones, begin = self._ones(word, skipped, _WINDOW)
        first = 8 * _WORD * word + begin - bucket
        return self._low.find(value & 255, first, first + ones) >= 0

    def _ones(self, word: int, skipped: int, window: int) -> tuple[int, int]:
        """How many ones follow so many zeros from a word on, and where, in bits after the word's beginning."""
        part = self._high[word * _WORD : word * _WORD + window]
        runs = f"{int.from_bytes(part, 'big'):0{8 * len(part)}b}".split("0", skipped + 1)
        if len(runs) <= skipped + 1 and len(part) == window:
            return self._ones(word, skipped, 8 * window)  # nearly never: forty cards in one bucket
        begin = sum(map(len, runs[:skipped])) + skipped
        return len(runs[skipped]) if skipped < len(runs) else 0, begin


# --- as an object -----------------------------------------------------------------------------------------------


class FilterObject(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object of feed `credential-filter`: a segment ("6-47" is number 47 of 2^6), or NEW. `key` is hexadecimal.

    `matches_all` says "ask me about any card", as long as the cards are being counted anew.
    """

    country_code: str
    party_id: str
    id: Annotated[str, Meta(max_length=8)]
    key: Annotated[str, Meta(max_length=2 * KEY)]
    cards: Annotated[int, Meta(ge=0, le=MAX_CARDS)] = 0
    filter: str = ""
    matches_all: bool = False


def segment_id(depth: int, index: int) -> str:
    """The id of a segment's object."""
    return f"{depth}-{index}"


def place_of(object_id: str) -> tuple[int, int] | None:
    """(depth, index) of a segment's id; None for one that is none."""
    match = _SEGMENT_ID.fullmatch(object_id)
    if match is None:
        return None
    depth, index = int(match[1]), int(match[2])
    return (depth, index) if depth <= MAX_DEPTH and index < 1 << depth else None


def index_at(depth: int, digest_: bytes) -> int:
    """In which segment of 2^depth a digest belongs."""
    return int.from_bytes(digest_[:2], "big") >> MAX_DEPTH - depth


def write_segment(party: str, object_id: str, key: bytes, digests: bytes) -> bytes:
    """The object's body, the same for the same cards and key. `digests` are 16 bytes each."""
    packed = pack_cards(marker(key)(digests)) if digests else b""
    text = binascii.b2a_base64(packed, newline=False).decode()
    return msgspec.json.encode(FilterObject(party[:2], party[2:], object_id, key.hex(), len(digests) // DIGEST, text))


def write_open(party: str, key: bytes) -> bytes:
    """The body of NEW that matches all."""
    return msgspec.json.encode(FilterObject(party[:2], party[2:], NEW, key.hex(), matches_all=True))


def read_object(body: bytes) -> tuple[FilterObject, Segment]:
    """A peer's object and its segment. Raises ValueError (msgspec's are some) for what is none; costs 0.1 ms at most
    for each 16,000 cards, and no more memory than the body has bytes.
    """
    try:
        read = _READ.decode(body)
    except RecursionError as error:  # a field that nobody knows may hold arrays in arrays
        raise ValueError("nested too deep") from error
    if len(read.key) != 2 * KEY or not _HEX.fullmatch(read.key):
        raise ValueError("the key is not 16 bytes in hexadecimal")
    if read.id != NEW and place_of(read.id) is None:
        raise ValueError("the id names no segment")
    return read, Segment(read.cards, binascii.a2b_base64(read.filter, strict_mode=True))


_READ: Final = msgspec.json.Decoder(FilterObject)
_HEX: Final = re.compile(r"[0-9A-Fa-f]+", re.ASCII)
