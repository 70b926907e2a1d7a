"""A follower's place in a feed, sealed so that it tells nobody how much is published to others (DESIGN section 3).

AES-SIV: the same place gives the same bytes, nothing needs to be random, and a cursor that was not made here, or was
made for another peer or feed, does not open.
"""

import hashlib
import hmac
import struct
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

_LAYOUT = struct.Struct(">16sQQQ")


class Place(NamedTuple):
    """Up to where a follower has a feed. `snapshot_end` is above 0 while a replacing snapshot is under way:
    the version at which it is complete.
    """

    run_id: bytes
    version: int
    rights_version: int
    snapshot_end: int


class CursorSeal:
    """Seals and opens cursors; one key a peer, all made from one secret of this store (32 bytes)."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._ciphers: dict[str, AESSIV] = {}

    def seal(self, peer: str, feed: str, place: Place) -> bytes:
        """The opaque cursor, 56 bytes."""
        return self._cipher(peer).encrypt(_LAYOUT.pack(*place), [feed.encode()])

    def open(self, peer: str, feed: str, cursor: bytes) -> Place | None:
        """The place, or None for an empty, foreign or broken cursor."""
        try:
            return Place._make(_LAYOUT.unpack(self._cipher(peer).decrypt(cursor, [feed.encode()])))
        except (InvalidTag, ValueError, struct.error):
            return None

    def _cipher(self, peer: str) -> AESSIV:
        cipher = self._ciphers.get(peer)
        if cipher is None:
            key = hmac.digest(self._secret, b"roamd cursor 1 " + peer.encode(), hashlib.sha256)
            cipher = self._ciphers[peer] = AESSIV(key)
        return cipher
