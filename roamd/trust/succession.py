"""Which key speaks for an endpoint: the first one names it for good, and each names its successor.

An endpoint id is the name of a key (`endpoint`). The key can be replaced while the name stays, because partners,
agreements, ledgers and pseudonyms go by the name. A successor statement says which key comes next, and both keys sign
it: the old one vouches, the new one shows that somebody holds it and agrees to the name.

    succession  = msgpack [first identity certificate DER bytes, number of steps uint, step bytes ...], at most 6 steps
    step        = msgpack [algorithm text, document text, signature by the old key bytes,
                           signature by the new key bytes, new identity certificate DER bytes]
    document    = "roamd successor 1 ENDPOINT-ID NUMBER OLD-KEY-ID NEW-KEY-ID MADE-MS UNTIL-MS", ASCII, single spaces

Key ids are made like endpoint ids, numbers are decimal, the first step has number 1, times are ms UTC. A succession
stands in the endpoint's descriptor, and so goes wherever that goes. While the newest key is only announced the one
before it is in use; partners take either. From the first descriptor under the new key on that one is in use; the old
one is taken until UNTIL-MS, and what it signed before is evidence for ever. A step once seen stays: another one in its
place is a lie of one of the two, and whoever keeps the first shows the second to the operator.

This replaces a key in good time. It is no cure for a stolen one: the thief can write a statement, too.
"""

import base64
import binascii
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from roamd.errors import ConfigError, NotTrusted
from roamd.trust.certificates import MAX_CERTIFICATE, p256_key, parse_certificate
from roamd.trust.documents import Fields, pack, unpack
from roamd.trust.endpoint import endpoint_id
from roamd.trust.identity import Identity, check_identity, spki
from roamd.trust.signing import ALGORITHM, MAX_SIGNATURE, verify

MAX_STEPS: Final = 6
"""An identity is valid for twenty years; whoever needs more pairs anew."""
MAX_SUCCESSION: Final = 8 * 1024
MAX_STEP: Final = 2 * 1024
MAX_STATEMENT: Final = 300

_WORDS: Final = ("roamd", "successor", "1")

Verify = Callable[[bytes, bytes, bytes], bool]
"""(certificate DER, document, signature) -> whether it holds."""


@dataclass(frozen=True, slots=True)
class Step:
    """One successor statement. `document` is what both signed; times are ms UTC."""

    document: str
    by_old: bytes = field(repr=False)
    by_new: bytes = field(repr=False)
    certificate_der: bytes = field(repr=False)

    @property
    def made_ms(self) -> int:
        return int(self.document.split(" ")[7])

    @property
    def until_ms(self) -> int:
        """For how long the key before it is still taken."""
        return int(self.document.split(" ")[8])


@dataclass(frozen=True, slots=True)
class Succession:
    """All identities of one endpoint, from the first one on; `in_use` is the number of the one that signs now."""

    endpoint_id: str
    certificates: tuple[bytes, ...] = field(repr=False)
    steps: tuple[Step, ...] = ()
    in_use: int = 0

    @classmethod
    def sole(cls, name: str, certificate_der: bytes) -> Self:
        """An identity that never had another one before or behind it; the name is the caller's to have checked."""
        return cls(name, (certificate_der,))

    @property
    def current(self) -> bytes:
        """The certificate that is in use."""
        return self.certificates[self.in_use]

    @property
    def announced(self) -> Step | None:
        """The step to a key that is not in use yet."""
        return self.steps[self.in_use] if self.in_use < len(self.steps) else None

    @property
    def ever(self) -> tuple[bytes, ...]:
        """All certificates, the newest first: what any of them signed stays signed by this endpoint."""
        return self.certificates[::-1]

    def taken(self, now_ms: int) -> tuple[bytes, ...]:
        """The certificates whose signatures are taken now, the one in use first."""
        if not self.steps:
            return self.certificates
        following = self.certificates[self.in_use + 1 :]
        before = [
            certificate
            for certificate, step in zip(self.certificates[: self.in_use], self.steps, strict=False)
            if now_ms <= step.until_ms
        ]
        return (self.current, *following, *reversed(before))

    def follows(self, known: "Succession") -> bool:
        """Whether it says all that `known` says, and perhaps more; nothing is taken back."""
        said, before = self.certificates[: len(known.certificates)], known.certificates
        return said == before and self.in_use >= known.in_use

    def contradicts(self, known: "Succession") -> bool:
        """Whether the two name different keys for the same step."""
        return any(a != b for a, b in zip(self.certificates, known.certificates, strict=False))

    def shared(self, other: "Succession") -> int:
        """How many successors the two have in common: the same keys at the same numbers."""
        same = itertools.takewhile(
            lambda pair: pair[0] == pair[1], zip(self.certificates, other.certificates, strict=False)
        )
        return max(sum(1 for _ in same) - 1, 0)

    def packed(self) -> bytes:
        """As it travels and is kept; empty for a sole identity."""
        if not self.steps:
            return b""
        steps = [pack([ALGORITHM, s.document, s.by_old, s.by_new, s.certificate_der]) for s in self.steps]
        return pack([self.certificates[0], len(steps), *steps])


def signer_among(certificates: Iterable[bytes], document: bytes, signature: bytes, holds: Verify) -> bytes | None:
    """The first of these certificates whose key signed the document, None when none did."""
    return next((der for der in certificates if holds(der, document, signature)), None)


def read_succession(data: bytes, in_use_der: bytes) -> Succession:
    """Read what `packed` gave, with the certificate that is in use; raises NotTrusted unless every signature holds.

    The endpoint id that it gives is proven: it is the name of the first key, which vouches for all that follow.
    """
    if not data:
        return Succession.sole(check_identity(in_use_der), in_use_der)
    fields = unpack(data, MAX_SUCCESSION)
    first, count = fields.data(MAX_CERTIFICATE), fields.number()
    if not 0 < count <= MAX_STEPS:
        raise NotTrusted("malformed", f"A succession has 1 to {MAX_STEPS} steps, this one {count}.")
    name = check_identity(first)
    certificates, steps = [first], []
    for number in range(1, count + 1):
        steps.append(_read_step(unpack(fields.data(MAX_STEP), MAX_STEP), name, number, certificates[-1]))
        certificates.append(steps[-1].certificate_der)
    if len(set(certificates)) != len(certificates):
        raise NotTrusted("bad-successor", "A key follows itself.")
    if in_use_der not in certificates[-2:]:
        raise NotTrusted("bad-successor", "The identity is neither the newest of its succession nor the one before.")
    return Succession(name, tuple(certificates), tuple(steps), certificates.index(in_use_der))


def _read_step(fields: Fields, name: str, number: int, old_der: bytes) -> Step:
    algorithm, document = fields.text(40), fields.text(MAX_STATEMENT)
    by_old, by_new = fields.data(MAX_SIGNATURE), fields.data(MAX_SIGNATURE)
    step = Step(document, by_old, by_new, fields.data(MAX_CERTIFICATE))
    if algorithm != ALGORITHM:
        raise NotTrusted(
            "unknown-algorithm", f"A successor is signed with {algorithm}; this version knows {ALGORITHM}."
        )
    new_key_id = check_identity(step.certificate_der)
    words = document.split(" ")
    if words[:7] != [*_WORDS, name, str(number), key_id(old_der), new_key_id] or not _are_times(words[7:]):
        raise NotTrusted("bad-successor", "A successor statement does not say what its place and its keys require.")
    signed = document.encode()
    if not (verify(old_der, signed, by_old) and verify(step.certificate_der, signed, by_new)):
        raise NotTrusted("bad-signature", "A successor statement is not signed by both keys.")
    return step


def _are_times(words: list[str]) -> bool:
    right = len(words) == 2 and all(word.isascii() and word.isdigit() and len(word) < 16 for word in words)
    return right and str(int(words[0])) == words[0] and str(int(words[1])) == words[1] and int(words[0]) < int(words[1])


def key_id(certificate_der: bytes) -> str:
    """The name of a certificate's own key; the endpoint id, if it is the first of its endpoint."""
    return endpoint_id(spki(p256_key(parse_certificate(certificate_der))))


def succession_of_own(identity: Identity) -> Succession:
    """All identities of the endpoint whose current one this is."""
    return read_succession(identity.succession, identity.certificate_der)


def as_text(succession: Succession) -> str:
    """What `load_identity` reads back: base64, in lines."""
    return base64.encodebytes(succession.packed()).decode()


def load_identity(key_path: Path, certificate_path: Path, succession_path: Path) -> Identity:
    """Read the identity and, if it was ever replaced, what it follows from; ConfigError says what is wrong."""
    try:
        identity = Identity.load(key_path, certificate_path)
    except ConfigError as error:
        if next_certificate_of(certificate_path).exists() and not (
            key_path.exists() and next_key_of(key_path).exists()
        ):
            raise ConfigError([f"{key_path}: a switch of keys was cut off; `roamd identity switch` ends it"]) from error
        raise
    if not succession_path.exists():
        return identity
    try:
        data = base64.b64decode(succession_path.read_bytes(), validate=False)
        succession = read_succession(data or b"empty", identity.certificate_der)
    except (OSError, ValueError, NotTrusted) as error:
        why = "it is not base64" if isinstance(error, binascii.Error) else str(error).rstrip(".")
        raise ConfigError(
            [f"{succession_path}: does not lead to {certificate_path}: {why}. Restore both from one backup."]
        ) from error
    return replace(identity, endpoint_id=succession.endpoint_id, succession=succession.packed())


def next_key_of(key_path: Path) -> Path:
    """Where the next key lies until it is put to use."""
    return key_path.with_name("identity-next.key")


def next_certificate_of(certificate_path: Path) -> Path:
    """Where its certificate lies."""
    return certificate_path.with_name("identity-next.crt")


def statement(name: str, number: int, keys: tuple[str, str], times_ms: tuple[int, int]) -> str:
    """What both keys sign: by their ids, the old one first; when it was made, and until when the old one is taken."""
    return " ".join(map(str, (*_WORDS, name, number, *keys, *times_ms)))


def appoint(old: Identity, new: Identity, made_ms: int, until_ms: int) -> Succession:
    """The succession of `old` with `new` behind it, signed by both; `old` stays in use.

    `until_ms`: for how long partners take the old key after the new one came into use. ValueError when there is a
    successor that is not in use yet, when there were six, or when the times are the wrong way round.
    """
    known = read_succession(old.succession, old.certificate_der)
    number = len(known.steps) + 1
    if known.announced is not None or number > MAX_STEPS or not made_ms < until_ms:
        raise ValueError("this identity cannot have that successor")
    keys = (key_id(old.certificate_der), key_id(new.certificate_der))
    document = statement(known.endpoint_id, number, keys, (made_ms, until_ms))
    step = Step(document, old.sign(document.encode()), new.sign(document.encode()), new.certificate_der)
    return Succession(known.endpoint_id, (*known.certificates, new.certificate_der), (*known.steps, step), known.in_use)
