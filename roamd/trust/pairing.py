"""The pairing handshake, both sides, without I/O: documents in, documents out.

It runs inside TLS on the pairing port, where the server has shown its leaf and the client none. When it is done

- each side knows that the other holds its identity key and knew the secret of the invitation, in this very TLS
  connection: whoever relays the documents would have to show the inviter's own leaf, whose key only the inviter has;
- each has the other's identity certificate and signed descriptor, and both can show the same six words.

Wire: each document is sent as its length (u32, big-endian, at most 16,384) and then msgpack, an array that begins with
its kind. Sizes in bytes; `text`, `bin`, `uint` and `bool` are msgpack's types.

    inviter -> joiner   Greeting    [1 uint, version 1 uint, identity certificate bin<=4096, nonce bin 32,
                                     succession bin<=8192 = empty]
    joiner -> inviter   Claim       [2, invitation id bin 8, identity certificate bin<=4096, nonce bin 32,
                                     mac bin 32, signature bin<=72, succession bin<=8192 = empty]
    inviter -> joiner   Proof       [3, mac bin 32, signature bin<=72, signed descriptor bin<=12288]
    joiner -> inviter   Handover    [4, signed descriptor bin<=12288]
    inviter -> joiner   Outcome     [5, confirmed bool]
    inviter -> joiner   Refusal     [9, reason text<=40]      in place of Proof or Outcome; then the inviter hangs up

    transcript = SHA-256("roamd pairing 1\\n" || invitation id (8) || SHA-256(inviter's identity certificate)
                         || SHA-256(joiner's identity certificate) || inviter's nonce (32) || joiner's nonce (32)
                         || SHA-256(inviter's leaf certificate))
    mac        = HMAC-SHA-256(key: the secret (16), role || transcript)              role = "roamd pairing 1 inviter\\n"
    signature  = identity key's ECDSA-SHA-256, DER, over role || transcript               or "roamd pairing 1 joiner\\n"

The inviter speaks first, so the joiner can check its key against the pin, and its leaf against that key, before it says
who it is. The joiner hands over its descriptor only to who knew the secret. The inviter commits the pairing before it
sends Outcome; if that is lost, the joiner comes again with the same line and the same key and gets the same. An older
version ignores elements that a newer one appends. The identity certificate is the one in use; the succession leads to
it from the key that the endpoint id names (`succession`), and is empty where that is the same.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from roamd.errors import NotTrusted
from roamd.trust.certificates import MAX_CERTIFICATE
from roamd.trust.descriptor import MAX_DESCRIPTOR, Descriptor, verify_descriptor
from roamd.trust.documents import MAX_DOCUMENT, Fields, pack, unpack
from roamd.trust.identity import Identity
from roamd.trust.invitation import ID_SIZE, Invitation
from roamd.trust.judge import judge_leaf
from roamd.trust.signing import MAX_SIGNATURE, verify
from roamd.trust.succession import MAX_SUCCESSION, read_succession

PAIRING_VERSION: Final = 1
LENGTH_SIZE: Final = 4
_NONCE: Final = 32
_MAC: Final = 32
_INVITER: Final = b"roamd pairing 1 inviter\n"
_JOINER: Final = b"roamd pairing 1 joiner\n"


class _Kind(IntEnum):
    GREETING = 1
    CLAIM = 2
    PROOF = 3
    HANDOVER = 4
    OUTCOME = 5
    REFUSAL = 9


REFUSALS: Final = {
    "unknown-invitation": "The partner does not know this invitation (any more). Ask for a new one.",
    "expired": "The invitation has expired. Ask the partner for a new one.",
    "used": "Another endpoint has used this invitation. Ask the partner who, and for a new one.",
    "slow-down": "Too many tries from this address. Wait a minute.",
    "not-proven": "The partner does not believe that this endpoint knows the invitation's secret or owns its key.",
    "malformed": "The partner could not read what this endpoint sent; one of the two may be of another version.",
    "failed": "The partner could not keep the pairing. Try again in a while.",
}
"""What the inviter may say no with, and what the joiner's operator is told."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A partner that proved itself: everything that the inviter has to keep."""

    descriptor: Descriptor
    descriptor_data: bytes = field(repr=False)
    identity_der: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a joiner says it is; nothing of it is believed before `Inviter.prove`."""

    invitation_id: bytes
    identity_der: bytes = field(repr=False)
    endpoint_id: str
    nonce: bytes = field(repr=False)
    mac: bytes = field(repr=False)
    signature: bytes = field(repr=False)


class Inviter:
    """One run of the inviting side. Every method that reads raises NotTrusted(reason)."""

    def __init__(
        self, identity: Identity, leaf_sha256: bytes, descriptor_data: bytes, random: Callable[[int], bytes]
    ) -> None:
        self._identity = identity
        self._leaf_sha256 = leaf_sha256
        self._descriptor_data = descriptor_data
        self._nonce = random(_NONCE)

    def greeting(self) -> bytes:
        own = self._identity
        return pack([_Kind.GREETING, PAIRING_VERSION, own.certificate_der, self._nonce, own.succession])

    def read_claim(self, document: bytes) -> Claim:
        """What the joiner names; look the invitation up by it, then `prove`."""
        fields = _open(document, _Kind.CLAIM)
        invitation_id, identity_der = fields.data(ID_SIZE, exactly=True), fields.data(MAX_CERTIFICATE)
        nonce, mac = fields.data(_NONCE, exactly=True), fields.data(_MAC, exactly=True)
        signature = fields.data(MAX_SIGNATURE)
        name = read_succession(fields.last_data(MAX_SUCCESSION), identity_der).endpoint_id
        return Claim(invitation_id, identity_der, name, nonce, mac, signature)

    def prove(self, claim: Claim, secret: bytes) -> bytes:
        """The Proof, for a claim that holds; else NotTrusted("not-proven")."""
        transcript = _transcript(
            claim.invitation_id,
            (self._identity.certificate_der, claim.identity_der),
            (self._nonce, claim.nonce),
            self._leaf_sha256,
        )
        _check(_JOINER, transcript, secret, claim.identity_der, claim.mac, claim.signature)
        mac, signature = _prove(_INVITER, transcript, secret, self._identity)
        return pack([_Kind.PROOF, mac, signature, self._descriptor_data])

    def read_handover(self, claim: Claim, document: bytes) -> Joined:
        """The proven joiner's descriptor."""
        data = _open(document, _Kind.HANDOVER).data(MAX_DESCRIPTOR)
        return Joined(_descriptor_of(claim.endpoint_id, claim.identity_der, data), data, claim.identity_der)

    def outcome(self, *, confirmed: bool) -> bytes:
        """To be sent only after the pairing is committed."""
        return pack([_Kind.OUTCOME, confirmed])

    def refusal(self, reason: str) -> bytes:
        """`reason` is a word of REFUSALS; any other says in what way the joiner's documents are off: `malformed`."""
        return pack([_Kind.REFUSAL, reason if reason in REFUSALS else "malformed"])


class Joiner:
    """One run of the joining side; `leaf_der` is the certificate that the TLS server showed."""

    def __init__(
        self,
        invitation: Invitation,
        identity: Identity,
        descriptor_data: bytes,
        leaf_der: bytes,
        random: Callable[[int], bytes],
    ) -> None:
        self._invitation = invitation
        self._identity = identity
        self._descriptor_data = descriptor_data
        self._leaf_der = leaf_der
        self._nonce = random(_NONCE)
        self._inviter_der = b""
        self._transcript = b""

    def read_greeting(self, document: bytes, now_ms: int) -> bytes:
        """The Claim, once key, pin and leaf agree; else NotTrusted, and the partner learns nothing about this side."""
        fields = _open(document, _Kind.GREETING)
        if fields.number() != PAIRING_VERSION:
            raise NotTrusted("version", "The partner pairs in a way that this version does not know.")
        inviter_der, inviter_nonce = fields.data(MAX_CERTIFICATE), fields.data(_NONCE, exactly=True)
        self._check_inviter(inviter_der, fields.last_data(MAX_SUCCESSION), now_ms)
        self._inviter_der = inviter_der
        self._transcript = _transcript(
            self._invitation.id,
            (inviter_der, self._identity.certificate_der),
            (inviter_nonce, self._nonce),
            hashlib.sha256(self._leaf_der).digest(),
        )
        mac, signature = _prove(_JOINER, self._transcript, self._invitation.secret, self._identity)
        own = self._identity
        return pack(
            [_Kind.CLAIM, self._invitation.id, own.certificate_der, self._nonce, mac, signature, own.succession]
        )

    def _check_inviter(self, inviter_der: bytes, succession: bytes, now_ms: int) -> None:
        name = read_succession(succession, inviter_der).endpoint_id
        if name != self._invitation.endpoint_id:
            raise NotTrusted("wrong-pin", "Who answered at the invitation's address is not who made the invitation.")
        judge_leaf(self._leaf_der, {name: (inviter_der,)}, now_ms)

    def read_proof(self, document: bytes) -> tuple[bytes, Joined]:
        """(the Handover, who the inviter is)."""
        fields = _open(document, _Kind.PROOF)
        mac, signature = fields.data(_MAC, exactly=True), fields.data(MAX_SIGNATURE)
        data = fields.data(MAX_DESCRIPTOR)
        _check(_INVITER, self._transcript, self._invitation.secret, self._inviter_der, mac, signature)
        descriptor = _descriptor_of(self._invitation.endpoint_id, self._inviter_der, data)
        inviter = Joined(descriptor, data, self._inviter_der)
        return pack([_Kind.HANDOVER, self._descriptor_data]), inviter

    def read_outcome(self, document: bytes) -> bool:
        """Whether the inviting operator has already confirmed."""
        return _open(document, _Kind.OUTCOME).flag()


class Unframer:
    """Cuts received bytes into documents; raises NotTrusted for a length over the limit, before reading on."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_document(self) -> bytes | None:
        """The next whole document, if there is one."""
        if len(self._buffer) < LENGTH_SIZE:
            return None
        end = LENGTH_SIZE + int.from_bytes(self._buffer[:LENGTH_SIZE], "big")
        if end > LENGTH_SIZE + MAX_DOCUMENT:
            raise NotTrusted("malformed", "A pairing document is over its size limit.")
        if len(self._buffer) < end:
            return None
        document = bytes(self._buffer[LENGTH_SIZE:end])
        del self._buffer[:end]
        return document


def framed(document: bytes) -> bytes:
    """As it goes over the wire."""
    return len(document).to_bytes(LENGTH_SIZE, "big") + document


def _open(document: bytes, kind: _Kind) -> Fields:
    fields = unpack(document)
    found = fields.number()
    if found == _Kind.REFUSAL:
        reason = fields.text(40)
        known = reason if reason in REFUSALS else "failed"  # a stranger does not choose our words
        raise NotTrusted(known, REFUSALS[known])
    if found != kind:
        raise NotTrusted("malformed", f"A document of kind {found} came where kind {int(kind)} belongs.")
    return fields


def _transcript(
    invitation_id: bytes, identities: tuple[bytes, bytes], nonces: tuple[bytes, bytes], leaf_sha256: bytes
) -> bytes:
    """All parts have fixed lengths, so no two different sets of parts give the same bytes."""
    hashes = b"".join(hashlib.sha256(der).digest() for der in identities)
    parts = b"roamd pairing 1\n" + invitation_id + hashes + b"".join(nonces) + leaf_sha256
    return hashlib.sha256(parts).digest()


def _prove(role: bytes, transcript: bytes, secret: bytes, identity: Identity) -> tuple[bytes, bytes]:
    return hmac.digest(secret, role + transcript, "sha256"), identity.sign(role + transcript)


def _check(role: bytes, transcript: bytes, secret: bytes, identity_der: bytes, mac: bytes, signature: bytes) -> None:
    """One answer for both failures: a stranger learns nothing about which one it was."""
    knows = hmac.compare_digest(hmac.digest(secret, role + transcript, "sha256"), mac)
    owns = verify(identity_der, role + transcript, signature)
    if not (knows and owns):
        raise NotTrusted("not-proven", "The partner proved neither that it knows the secret nor that it owns its key.")


def _descriptor_of(name: str, identity_der: bytes, data: bytes) -> Descriptor:
    descriptor = verify_descriptor(data)
    if (descriptor.endpoint_id, descriptor.identity_der) != (name, identity_der):
        raise NotTrusted("wrong-name", "The descriptor is of another endpoint than the one that proved itself.")
    return descriptor
