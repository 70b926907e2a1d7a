"""What an identity key signs to bring a link up.

The document names the signer's part, both Hellos (each with a fresh nonce) and both TLS leaves. So a proof is worth
nothing on another connection, for the other part, or behind someone who ends TLS in between with leaves of his own.

    0 "roamd/1 proof" and NULs to 16 | 16 "dialler" NUL or "listener" (8) | 24 SHA-256 of the dialler's Hello payload
    | 56 SHA-256 of the listener's Hello payload | 88 SHA-256 of the dialler's leaf DER | 120 of the listener's leaf DER
"""

from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from typing import Final

_PROOF: Final = Struct(">16s8s32s32s32s32s")
_MAGIC: Final = b"roamd/1 proof"


@dataclass(frozen=True, slots=True)
class Side:
    """What one side brings to the transcript."""

    hello_payload: bytes
    leaf_sha256: bytes


def proof_document(*, signer_is_dialler: bool, dialler: Side, listener: Side) -> bytes:
    """The 152 bytes that the signer's identity key signs. ValueError when a leaf hash is not 32 bytes."""
    if len(dialler.leaf_sha256) != 32 or len(listener.leaf_sha256) != 32:
        raise ValueError("A leaf hash has 32 bytes.")
    part = b"dialler" if signer_is_dialler else b"listener"
    hellos = sha256(dialler.hello_payload).digest(), sha256(listener.hello_payload).digest()
    return _PROOF.pack(_MAGIC, part, *hellos, dialler.leaf_sha256, listener.leaf_sha256)
