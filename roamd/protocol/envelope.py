"""Envelopes: what two endpoints that have no direct link send each other through a clearing house.

An envelope is the body of a call of service RELAY: a header that the clearing house reads, and what it carries. Fixed
layout, big-endian; the header as it is signed and bound begins with 16 bytes that do not travel:

    0    16   `roamd seal 1`, then NULs (not sent)
    16   56   sender's endpoint id, ASCII
    72   56   receiver's endpoint id
    128  16   id: that of the call which carries it, on every link on its way
    144  16   epoch: names the passage (one connection of the two), drawn at random by whoever opened it
    160   8   sequence within the epoch and direction: 0, 1, 2, ...
    168   8   expiry, ms since 1970 UTC by the sender's clock
    176   2   kind (`Kind`)

Behind it stands, sealed to the receiver under this header (see `trust.sealing`), the sender's signature and the
content: `length of the signature (1), signature, content`. The signature is the identity key's over the header and the
SHA-256 of the content. So nobody between the two can alter, forge, redirect or renumber one; what can be done with it
is to keep it, to hold it back and to send it again, and epoch, sequence and expiry are against that. Kind PAIRING
alone carries bytes that are not sealed by us: the TLS connection of a pairing.
"""

import hashlib
from enum import IntEnum
from struct import Struct
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from roamd.errors import ProtocolError
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.messages import EndpointId, decode_as, encode

MAX_CONTENT: Final = 32 * 1024
"""Of one envelope. Calls go before bulk, so a call of somebody else waits for a few of these at most."""

MAX_PAIRS: Final = 900
"""Endpoints that one endpoint reaches through one clearing house: their ids fit into one call."""

_WORDS: Final = b"roamd seal 1".ljust(16, b"\0")
_FIELDS: Final = Struct(">56s56s16s16sQQH")
_ID_CHARACTERS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
MAX_SIGNATURE: Final = 255


class Kind(IntEnum):
    """What an envelope is for."""

    OPEN = 1  # sealed to the key in the receiver's descriptor; the content is the sender's key for this passage
    ACCEPT = 2  # sealed to that key; the content is the accepter's key for this passage
    DATA = 3  # sealed to the receiver's key for this passage; bytes of the link
    END = 4  # the same, without content: no more bytes will come
    PAIRING = 5  # bytes of a pairing's TLS connection; the answer's body is the other direction


class Header(msgspec.Struct, frozen=True, gc=False):
    """Who, to whom, and which."""

    sender: str
    receiver: str
    id: bytes
    epoch: bytes
    sequence: int
    expiry_ms: int
    kind: int

    def packed(self) -> bytes:
        """As it is signed and bound; 178 bytes."""
        return _WORDS + _FIELDS.pack(
            self.sender.encode(), self.receiver.encode(), self.id, self.epoch, self.sequence, self.expiry_ms, self.kind
        )

    def envelope(self, carried: bytes) -> bytes:
        """The call's body."""
        return self.packed()[len(_WORDS) :] + carried


def read_envelope(body: bytes) -> tuple[Header, bytes]:
    """The header, and what is carried; ProtocolError(MALFORMED). Nothing of it is proven yet."""
    if len(body) < _FIELDS.size:
        raise _malformed("too short")
    sender, receiver, id_, epoch, sequence, expiry_ms, kind = _FIELDS.unpack_from(body)
    if not _ID_CHARACTERS.issuperset(sender + receiver):
        raise _malformed("no endpoint ids")
    if kind not in tuple(Kind):
        raise _malformed("unknown kind")
    header = Header(sender.decode(), receiver.decode(), id_, epoch, sequence, expiry_ms, kind)
    return header, body[_FIELDS.size :]


def signed_document(header: Header, content: bytes) -> bytes:
    """What the sender's identity signs; 210 bytes."""
    return header.packed() + hashlib.sha256(content).digest()


def letter(signature: bytes, content: bytes) -> bytes:
    """What is sealed."""
    return bytes((len(signature),)) + signature + content


def read_letter(opened: bytes) -> tuple[bytes, bytes]:
    """Signature and content; ProtocolError when it is cut short or too long."""
    length = opened[0] if opened else 0
    signature, content = opened[1 : 1 + length], opened[1 + length :]
    if len(signature) < length or not length or len(content) > MAX_CONTENT:
        raise _malformed("what was sealed is cut short or too long")
    return signature, content


class RelayPairs(msgspec.Struct, array_like=True, frozen=True):
    """Told to a clearing house: between whom and the teller it may relay. It replaces what was told before.

    `pairing`: an invitation is open, so that envelopes of kind PAIRING may come from anyone it serves.
    """

    endpoints: Annotated[list[EndpointId], Meta(max_length=MAX_PAIRS)]
    pairing: bool = False

    def pack(self) -> bytes:
        """As a Call's body."""
        return encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "RelayPairs":
        """ProtocolError when it cannot be read."""
        return decode_as(_RELAY_PAIRS, body, "relay pairs")


def _malformed(what: str) -> ProtocolError:
    return ProtocolError(GoodbyeCode.MALFORMED, f"an envelope cannot be read: {what}")


_RELAY_PAIRS: Final = msgspec.msgpack.Decoder(RelayPairs)
