"""Our own signature under heads and receipts, and the check of a peer's."""

from collections.abc import Callable
from dataclasses import dataclass

from roamd.protocol.ledger import head_document, receipt_document
from roamd.storage.ledgers import SignedMark

Verify = Callable[[bytes, bytes, bytes], bool]
"""(certificate DER, document, signature) -> whether it holds."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with the identity key; `verify` is `trust.signing.verify`, handed in so that a test can plant a fault."""

    endpoint_id: str
    identity_der: bytes
    sign: Callable[[bytes], bytes]
    verify: Verify

    def head(self, receiver: str, epoch: bytes, sequence: int, hash_: bytes, now_ms: int) -> SignedMark:
        """Our signed head of a chain towards `receiver`."""
        document = head_document(self.endpoint_id, receiver, epoch, sequence, hash_, now_ms)
        return SignedMark(sequence, hash_, now_ms, self.sign(document))

    def receipt(self, author: str, epoch: bytes, sequence: int, hash_: bytes, now_ms: int) -> SignedMark:
        """Our signed receipt for a chain of `author`."""
        document = receipt_document(author, self.endpoint_id, epoch, sequence, hash_, now_ms)
        return SignedMark(sequence, hash_, now_ms, self.sign(document))

    def peer_head_holds(self, peer: str, identity_der: bytes, epoch: bytes, mark: SignedMark) -> bool:
        """Whether a head that `peer` wrote for us is its own."""
        document = head_document(peer, self.endpoint_id, epoch, mark.sequence, mark.hash, mark.time_ms)
        return self.verify(identity_der, document, mark.signature)

    def peer_receipt_holds(self, peer: str, identity_der: bytes, epoch: bytes, mark: SignedMark) -> bool:
        """Whether a receipt that `peer` gave for our chain is its own."""
        document = receipt_document(self.endpoint_id, peer, epoch, mark.sequence, mark.hash, mark.time_ms)
        return self.verify(identity_der, document, mark.signature)

    def own_head_holds(self, receiver: str, epoch: bytes, mark: SignedMark) -> bool:
        """Whether we once signed this head ourselves."""
        document = head_document(self.endpoint_id, receiver, epoch, mark.sequence, mark.hash, mark.time_ms)
        return self.verify(self.identity_der, document, mark.signature)

    def own_receipt_holds(self, author: str, epoch: bytes, mark: SignedMark) -> bool:
        """Whether we once signed this receipt ourselves."""
        document = receipt_document(author, self.endpoint_id, epoch, mark.sequence, mark.hash, mark.time_ms)
        return self.verify(self.identity_der, document, mark.signature)
