"""The signed descriptor: what an endpoint says of itself, for partners to keep and to pass on.

    signed descriptor   = msgpack [algorithm text, document bytes, signature bytes]
    document            = msgpack ["roamd descriptor 1", endpoint id text, identity certificate DER bytes, name text,
                                   parties [text], roles [text], addresses ["host:port" text], sequence uint,
                                   valid until uint (ms UTC), sealing key bytes = empty,
                                   introducible bool = false, succession bytes = empty]

The signature is the identity key's over the document's bytes. Of two descriptors of one endpoint the higher sequence
holds. No address means dial-only: it dials and is never dialled. The sealing key (an uncompressed point of P-256) is
what others seal to when they reach the endpoint through a clearing house; empty, or left out by an older version: it
cannot be reached that way. Only what is introducible may be passed on to others: who shows a descriptor of somebody
else shows that the two are partners. The identity certificate is the one in use; where that is not the first one, or
the next one is announced, the succession (`succession`) leads to it from the key that the endpoint id names. Appended
elements of later versions are ignored.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from roamd.errors import NotTrusted
from roamd.trust.certificates import MAX_CERTIFICATE
from roamd.trust.documents import Fields, pack, unpack
from roamd.trust.identity import Identity
from roamd.trust.sealing import PUBLIC_SIZE, is_sealing_key
from roamd.trust.signing import ALGORITHM, MAX_SIGNATURE, verify
from roamd.trust.succession import MAX_SUCCESSION, Succession, read_succession

MAX_DESCRIPTOR: Final = 12 * 1024
MAX_NAME: Final = 100
MAX_PARTIES: Final = 32
MAX_ROLES: Final = 8
MAX_ADDRESSES: Final = 8
MAX_ADDRESS: Final = 262
"""A host name has at most 255 characters, a port six with its colon."""

_WORDS: Final = "roamd descriptor 1"
_PARTY: Final = re.compile(r"[A-Z]{2}[A-Z0-9]{3}")
_ROLE: Final = re.compile(r"[a-z][a-z-]{1,19}")
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Parties are canonical ("DEABC"). `valid_until_ms` limits how long others may pass it on."""

    endpoint_id: str
    identity_der: bytes = field(repr=False)
    name: str
    parties: tuple[str, ...]
    roles: tuple[str, ...]
    addresses: tuple[str, ...]
    sequence: int
    valid_until_ms: int
    sealing_key: bytes = b""
    introducible: bool = False
    succession: bytes = field(default=b"", repr=False)


def encode_descriptor(descriptor: Descriptor, identity: Identity) -> bytes:
    """Signed and packed; `descriptor` must be the identity's own (ValueError)."""
    if (descriptor.endpoint_id, descriptor.identity_der) != (identity.endpoint_id, identity.certificate_der):
        raise ValueError("a descriptor is signed by the endpoint that it describes")
    document = pack(
        [
            _WORDS,
            descriptor.endpoint_id,
            descriptor.identity_der,
            descriptor.name,
            descriptor.parties,
            descriptor.roles,
            descriptor.addresses,
            descriptor.sequence,
            descriptor.valid_until_ms,
            descriptor.sealing_key,
            descriptor.introducible,
            descriptor.succession,
        ]
    )
    return pack([ALGORITHM, document, identity.sign(document)])


def verify_descriptor(data: bytes) -> Descriptor:
    """Read a signed descriptor and check its signature and its form; raises NotTrusted(reason).

    Whether it is still valid, newer than the one at hand, or of a trusted endpoint is for the caller to ask.
    """
    outer = unpack(data, MAX_DESCRIPTOR)
    algorithm, document, signature = outer.text(40), outer.data(MAX_DESCRIPTOR), outer.data(MAX_SIGNATURE)
    if algorithm != ALGORITHM:
        raise NotTrusted(
            "unknown-algorithm", f"The descriptor is signed with {algorithm}; this version knows {ALGORITHM}."
        )
    descriptor = _read(unpack(document, MAX_DESCRIPTOR))
    if read_succession(descriptor.succession, descriptor.identity_der).endpoint_id != descriptor.endpoint_id:
        raise NotTrusted("wrong-name", "The descriptor names another endpoint than its certificate.")
    if not verify(descriptor.identity_der, document, signature):
        raise NotTrusted("bad-signature", "The descriptor's signature does not hold.")
    return descriptor


def succession_of(descriptor: Descriptor) -> Succession:
    """All identities of an endpoint whose descriptor was verified."""
    if descriptor.succession:
        return read_succession(descriptor.succession, descriptor.identity_der)
    return Succession.sole(descriptor.endpoint_id, descriptor.identity_der)


def _read(fields: Fields) -> Descriptor:
    if fields.text(40) != _WORDS:
        raise NotTrusted("malformed", "This is not a descriptor that this version can read.")
    descriptor = Descriptor(
        endpoint_id=fields.text(56),
        identity_der=fields.data(MAX_CERTIFICATE),
        name=fields.text(MAX_NAME),
        parties=fields.texts(MAX_PARTIES, 5),
        roles=fields.texts(MAX_ROLES, 20),
        addresses=fields.texts(MAX_ADDRESSES, MAX_ADDRESS),
        sequence=fields.number(),
        valid_until_ms=fields.number(),
        sealing_key=fields.last_data(PUBLIC_SIZE),
        introducible=fields.last_flag(),
        succession=fields.last_data(MAX_SUCCESSION),
    )
    _check_form(descriptor)
    return descriptor


def _check_form(descriptor: Descriptor) -> None:
    right = (
        descriptor.parties
        and all(_PARTY.fullmatch(party) for party in descriptor.parties)
        and all(_ROLE.fullmatch(role) for role in descriptor.roles)
        and all(is_address(address) for address in descriptor.addresses)
        and (not descriptor.sealing_key or is_sealing_key(descriptor.sealing_key))
    )
    if not right:
        raise NotTrusted(
            "malformed", "The descriptor has a party, role, address or key of the wrong form, or no party."
        )


def is_address(text: str) -> bool:
    """Whether it is `host:port` or `[IPv6]:port` with a port that can be dialled."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and len(text) <= MAX_ADDRESS and 0 < int(match[2]) < 65536
