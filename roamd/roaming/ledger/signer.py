"""Our own signature under heads and receipts, and the check of a peer's."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from roamd.protocol.ledger import head_document, receipt_document
from roamd.storage.ledgers import SignedMark
from roamd.trust.succession import Succession, Verify, signer_among


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with the identity key; `verify` is `trust.signing.verify`, handed in so that a test can plant a fault.

    `succession` has our identities: what was signed by an earlier one was signed by us.
    """

    succession: Succession
    sign: Callable[[bytes], bytes]
    verify: Verify

    @property
    def endpoint_id(self) -> str:
        return self.succession.endpoint_id

    def head(self, receiver: str, epoch: bytes, sequence: int, hash_: bytes, now_ms: int) -> SignedMark:
        """Our signed head of a chain towards `receiver`."""
        document = head_document(self.endpoint_id, receiver, epoch, sequence, hash_, now_ms)
        return SignedMark(sequence, hash_, now_ms, self.sign(document))

    def receipt(self, author: str, epoch: bytes, sequence: int, hash_: bytes, now_ms: int) -> SignedMark:
        """Our signed receipt for a chain of `author`."""
        document = receipt_document(author, self.endpoint_id, epoch, sequence, hash_, now_ms)
        return SignedMark(sequence, hash_, now_ms, self.sign(document))

    def peer_head_holds(self, peer: str, keys: Iterable[bytes], epoch: bytes, mark: SignedMark) -> bool:
        """Whether a head that `peer` wrote for us is its own: by one of these of its certificates."""
        document = head_document(peer, self.endpoint_id, epoch, mark.sequence, mark.hash, mark.time_ms)
        return signer_among(keys, document, mark.signature, self.verify) is not None

    def peer_receipt_holds(self, peer: str, keys: Iterable[bytes], epoch: bytes, mark: SignedMark) -> bool:
        """Whether a receipt that `peer` gave for our chain is its own: by one of these of its certificates."""
        document = receipt_document(self.endpoint_id, peer, epoch, mark.sequence, mark.hash, mark.time_ms)
        return signer_among(keys, document, mark.signature, self.verify) is not None

    def own_head_holds(self, receiver: str, epoch: bytes, mark: SignedMark) -> bool:
        """Whether we once signed this head ourselves."""
        document = head_document(self.endpoint_id, receiver, epoch, mark.sequence, mark.hash, mark.time_ms)
        return signer_among(self.succession.ever, document, mark.signature, self.verify) is not None

    def own_receipt_holds(self, author: str, epoch: bytes, mark: SignedMark) -> bool:
        """Whether we once signed this receipt ourselves."""
        document = receipt_document(author, self.endpoint_id, epoch, mark.sequence, mark.hash, mark.time_ms)
        return signer_among(self.succession.ever, document, mark.signature, self.verify) is not None
