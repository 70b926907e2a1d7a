"""Keys for the simulation: an honest signature scheme that is fast and always gives the same bytes.

A signature is a keyed hash under a secret that only its node is handed; the verifier looks the secret up by the
certificate. Nobody can sign for another node through what it is given, which is all that the protocol relies on.
"""

import hashlib
from base64 import b32encode
from collections.abc import Callable
from dataclasses import dataclass

from roamd.errors import NotTrusted
from roamd.trust.descriptor import Descriptor
from roamd.trust.documents import pack, unpack


@dataclass(frozen=True, slots=True)
class Identity:
    """What a node is known by."""

    endpoint_id: str
    certificate: bytes
    leaf_sha256: bytes
    sign: Callable[[bytes], bytes]


class Authority:
    """All keys of one simulation."""

    def __init__(self) -> None:
        self._secrets: dict[bytes, bytes] = {}

    def identity(self, name: str) -> Identity:
        """The key of a node; the same for the same name."""
        secret = hashlib.sha256(b"secret " + name.encode()).digest()
        certificate = b"certificate of " + name.encode()
        self._secrets[certificate] = secret
        endpoint_id = b32encode(hashlib.sha256(certificate).digest()).decode().rstrip("=") + "AAAA"
        leaf = hashlib.sha256(b"leaf " + name.encode()).digest()
        return Identity(endpoint_id, certificate, leaf, lambda document: _keyed(secret, document))

    def verify(self, certificate: bytes, document: bytes, signature: bytes) -> bool:
        """As `trust.signing.verify`."""
        secret = self._secrets.get(certificate)
        return secret is not None and _keyed(secret, document) == signature

    def encode_descriptor(self, descriptor: Descriptor, identity: Identity) -> bytes:
        """Signed and packed."""
        document = pack(
            [
                descriptor.endpoint_id,
                descriptor.identity_der,
                descriptor.name,
                descriptor.parties,
                descriptor.roles,
                descriptor.addresses,
                descriptor.sequence,
                descriptor.valid_until_ms,
            ]
        )
        return pack([document, identity.sign(document)])

    def read_descriptor(self, data: bytes) -> Descriptor:
        """As `trust.descriptor.verify_descriptor`."""
        outer = unpack(data, 4096)
        document, signature = outer.data(4096), outer.data(64)
        fields = unpack(document, 4096)
        descriptor = Descriptor(
            endpoint_id=fields.text(56),
            identity_der=fields.data(200),
            name=fields.text(100),
            parties=fields.texts(8, 5),
            roles=fields.texts(8, 20),
            addresses=fields.texts(8, 100),
            sequence=fields.number(),
            valid_until_ms=fields.number(),
        )
        if not self.verify(descriptor.identity_der, document, signature):
            raise NotTrusted("bad-signature", "The descriptor's signature does not hold.")
        return descriptor


def _keyed(secret: bytes, document: bytes) -> bytes:
    return hashlib.blake2b(document, key=secret, digest_size=32).digest()
