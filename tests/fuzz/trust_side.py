"""Targets: what claims to be a key, a name, an invitation or a partner."""

import contextlib
from collections.abc import Callable
from functools import cache

from roamd.errors import NotTrusted, RoamdError
from roamd.trust.descriptor import encode_descriptor, verify_descriptor
from roamd.trust.documents import pack
from roamd.trust.endpoint import display_endpoint_id, parse_endpoint_id
from roamd.trust.identity import check_identity
from roamd.trust.invitation import Invitation
from roamd.trust.judge import judge_leaf, judge_leaf_ca
from roamd.trust.leaf import Leaf, issue_leaf
from roamd.trust.pairing import Inviter, Joiner, Unframer, framed
from roamd.trust.signing import ALGORITHM
from roamd.trust.succession import Succession, appoint, read_succession
from tests.support.trust import descriptor as plausible
from tests.support.trust import descriptor_data, identity, real_now_ms

HOST, GUEST = identity(0), identity(1)
SECRET = b"s" * 16


def _zeros(size: int) -> bytes:
    """Randomness that makes the seeds the same in every run."""
    return bytes(size)


@cache
def _leaf() -> Leaf:
    return issue_leaf(HOST, real_now_ms())


@cache
def _invitation() -> Invitation:
    return Invitation.create(HOST.endpoint_id, "roam.abc.example:63120", real_now_ms(), lambda size: b"s" * size)


# --- descriptors ------------------------------------------------------------------------------------------------


def descriptor(data: bytes) -> None:
    """A signed descriptor as it comes over a link or in a pairing."""
    verify_descriptor(data)


def descriptor_seeds() -> list[bytes]:
    """One, and one that is dial-only."""
    return [descriptor_data(HOST), descriptor_data(HOST, addresses=())]


def signed_descriptor(data: bytes) -> None:
    """A document of any form, signed by a key that exists: what a malicious partner can send."""
    found = verify_descriptor(pack([ALGORITHM, data, HOST.sign(data)]))
    encode_descriptor(found, HOST)


def signed_descriptor_seeds() -> list[bytes]:
    """The document inside."""
    own = plausible(HOST)
    fields = (own.name, own.parties, own.roles, own.addresses, own.sequence, own.valid_until_ms)
    return [pack(["roamd descriptor 1", own.endpoint_id, own.identity_der, *fields])]


# --- successors ---------------------------------------------------------------------------------------------------


def _appointed() -> Succession:
    return appoint(HOST, GUEST, 1_780_000_000_000, 1_782_000_000_000)


def succession(data: bytes) -> None:
    """How a key follows from the one that names an endpoint, as it stands in a descriptor or a file."""
    found = read_succession(data, HOST.certificate_der)
    if read_succession(found.packed(), HOST.certificate_der) != found:
        raise AssertionError("a succession that was read is written in another way")


def succession_seeds() -> list[bytes]:
    """None, and one step."""
    return [b"", _appointed().packed()]


def signed_statement(data: bytes) -> None:
    """Any text, signed by two keys that exist: what a malicious partner can send."""
    text = data.decode(errors="replace")
    step = [ALGORITHM, text, HOST.sign(text.encode()), GUEST.sign(text.encode()), GUEST.certificate_der]
    found = read_succession(pack([HOST.certificate_der, 1, pack(step)]), HOST.certificate_der)
    if not found.steps[0].made_ms < found.steps[0].until_ms:
        raise AssertionError("a statement was taken that ends before it begins")


def signed_statement_seeds() -> list[bytes]:
    """The text."""
    return [_appointed().steps[0].document.encode()]


# --- invitations ------------------------------------------------------------------------------------------------


def invitation(data: bytes) -> None:
    """A line that an operator pastes, or an endpoint id."""
    line = data.decode(errors="surrogateescape")
    with contextlib.suppress(RoamdError):
        display_endpoint_id(parse_endpoint_id(line))
    again = Invitation.parse(line)
    if Invitation.parse(again.line()) != again:
        raise AssertionError("a line that was read is written in another way")


def invitation_seeds() -> list[bytes]:
    """A line, and one that a mail program wrapped."""
    line = _invitation().line()
    return [line.encode(), "\r\n ".join(line[at : at + 40] for at in range(0, len(line), 40)).encode()]


# --- pairing ------------------------------------------------------------------------------------------------------


def pairing(data: bytes) -> None:
    """All that comes in on the pairing port or, by the first byte, back from it; until something is refused."""
    unframer = Unframer()
    unframer.feed(data[1:])
    if data[:1] == b"\1":
        _as_joiner(unframer)
    else:
        _as_inviter(unframer)


def _as_inviter(unframer: Unframer) -> None:
    inviter = Inviter(HOST, _leaf().sha256, descriptor_data(HOST), _zeros)
    claim = None
    while (document := unframer.next_document()) is not None:
        if claim is None:
            claim = inviter.read_claim(document)
            with contextlib.suppress(NotTrusted):
                inviter.prove(claim, SECRET)
        else:
            inviter.read_handover(claim, document)


def _as_joiner(unframer: Unframer) -> None:
    joiner = Joiner(_invitation(), GUEST, descriptor_data(GUEST), _leaf().certificate_der, _zeros)
    steps = iter(
        (lambda document: joiner.read_greeting(document, real_now_ms()), joiner.read_proof, joiner.read_outcome)
    )
    while (document := unframer.next_document()) is not None:
        next(steps, joiner.read_outcome)(document)


def pairing_seeds() -> list[bytes]:
    """Both halves of one whole pairing."""
    inviter = Inviter(HOST, _leaf().sha256, descriptor_data(HOST), _zeros)
    joiner = Joiner(_invitation(), GUEST, descriptor_data(GUEST), _leaf().certificate_der, _zeros)
    greeting = inviter.greeting()
    claimed = joiner.read_greeting(greeting, real_now_ms())
    proof = inviter.prove(inviter.read_claim(claimed), _invitation().secret)
    handover, _ = joiner.read_proof(proof)
    said_by_host = (greeting, proof, inviter.outcome(confirmed=True))
    return [b"\0" + framed(claimed) + framed(handover), b"\1" + b"".join(map(framed, said_by_host))]


# --- certificates -------------------------------------------------------------------------------------------------


def certificate(data: bytes) -> None:
    """A leaf that was shown in a handshake, or an identity; and a revocation list."""
    pinned = {HOST.endpoint_id: (HOST.certificate_der,)}
    reads: tuple[Callable[[], object], ...] = (
        lambda: check_identity(data),
        lambda: judge_leaf_ca(data, HOST.certificate_der, None, real_now_ms()),
        lambda: judge_leaf_ca(_leaf().certificate_der, HOST.certificate_der, data, real_now_ms()),
        lambda: judge_leaf_ca(_leaf().certificate_der, data, None, real_now_ms()),
    )
    for read in reads:
        with contextlib.suppress(RoamdError):
            read()
    judge_leaf(data, pinned, real_now_ms())


def certificate_seeds() -> list[bytes]:
    """A good leaf."""
    return [_leaf().certificate_der]
