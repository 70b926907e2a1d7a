"""TLS contexts: built new, tried in memory, then swapped in.

One client and one server context hold every pinned identity, because a server cannot see a client certificate that it
does not know, and because a context costs milliseconds to build. A live context is never changed: a failed
`load_cert_chain` leaves it with the new certificate and no fitting key. Streams that are up keep what they began with.

A new leaf is tried on a pair of contexts that pin the own identity alone. The live ones do not hold it: OpenSSL would
add it to every handshake as the leaf's chain, and nobody needs it there.
"""

import os
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from roamd.errors import OperatorError
from roamd.trust.identity import Identity
from roamd.trust.leaf import Leaf

Pins = Mapping[str, tuple[bytes, ...]]
"""By endpoint id, the identity certificates that may issue its leaf: two while its key is being replaced."""

LINK_ALPN = "roamd/1"
PAIRING_ALPN = "roamd-pair/1"


def server_context(leaf: Leaf, identities: Iterable[bytes]) -> ssl.SSLContext:
    """For the link port: TLS 1.3, client certificate required, no tickets; `identities` are DER certificates."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, LINK_ALPN, leaf)
    context.verify_mode = ssl.CERT_REQUIRED
    _pin(context, identities)
    return context


def client_context(leaf: Leaf, identities: Iterable[bytes]) -> ssl.SSLContext:
    """For dialling a link: TLS 1.3; names are judged by `judge_leaf`, never by host name."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, LINK_ALPN, leaf)
    _pin(context, identities)
    return context


def pairing_server_context(leaf: Leaf) -> ssl.SSLContext:
    """For the pairing port: nobody is known yet, so no client certificate; the joiner proves itself inside."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, PAIRING_ALPN, leaf)
    context.verify_mode = ssl.CERT_NONE
    return context


def pairing_client_context() -> ssl.SSLContext:
    """For `pair`: the inviter's leaf is checked against the invitation's pin, by hand, right after the handshake."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, PAIRING_ALPN, None)
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, slots=True)
class ContextSet:
    """What belongs together: take it once per handshake, so that leaf hash and context agree."""

    leaf: Leaf
    identities: Pins
    server: ssl.SSLContext
    client: ssl.SSLContext
    pairing_server: ssl.SSLContext


class Contexts:
    """Holds the current set. A new leaf costs about 10 ms, new identities a third of it, and each peer 0.3 ms more.

    So who has many peers runs `replace` in a thread, one call at a time.
    """

    def __init__(self, identity: Identity, leaf: Leaf, identities: Pins | None = None) -> None:
        self.identity = identity
        self._current = self._built(leaf, identities or {}, self._tried(leaf))

    @property
    def current(self) -> ContextSet:
        """The set as of now; it never changes under its holder."""
        return self._current

    @property
    def leaf(self) -> Leaf:
        return self._current.leaf

    @property
    def identities(self) -> Pins:
        """{endpoint id: pinned identity DER} of the peers, as `judge_leaf` takes it."""
        return self._current.identities

    @property
    def server(self) -> ssl.SSLContext:
        return self._current.server

    @property
    def client(self) -> ssl.SSLContext:
        return self._current.client

    def replace(self, *, leaf: Leaf | None = None, identities: Pins | None = None) -> None:
        """Swap in a new leaf, new pinned identities, or both; raises OperatorError and changes nothing if they fail."""
        wanted = self.identities if identities is None else identities
        pairing = self._tried(leaf) if leaf is not None else self._current.pairing_server
        self._current = self._built(leaf or self.leaf, wanted, pairing)

    def _tried(self, leaf: Leaf) -> ssl.SSLContext:
        """The pairing port's context, which holds nobody's identity, for a leaf that works."""
        own = [self.identity.certificate_der]
        with _telling():
            _shake_hands_in_memory(server_context(leaf, own), client_context(leaf, own))
            return pairing_server_context(leaf)

    def _built(self, leaf: Leaf, identities: Pins, pairing: ssl.SSLContext) -> ContextSet:
        with _telling():
            pinned = [der for ders in identities.values() for der in ders]
            server, client = server_context(leaf, pinned), client_context(leaf, pinned)
        return ContextSet(leaf, MappingProxyType(dict(identities)), server, client, pairing)


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise OperatorError(f"The new certificates do not work and the old ones stay: {error}") from error


def _context(protocol: int, alpn: str, leaf: Leaf | None) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    # Some builds of Python ask OpenSSL to take a connection that is cut for one that was closed; here they differ.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    context.set_alpn_protocols([alpn])
    # The key exchange, too: OpenSSL's own list has curves that scanners object to, and Python can name only one.
    context.set_ecdh_curve("prime256v1")
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # nothing to resume, nothing to replay, and a third of the handshake's cost saved
    if leaf is not None:
        _load_leaf(context, leaf)
    return context


def _pin(context: ssl.SSLContext, identities: Iterable[bytes]) -> None:
    """One by one: the call holds the interpreter's lock, for 150 µs each, and a thousand at a time would stall all."""
    for der in identities:
        context.load_verify_locations(cadata=der)


def _load_leaf(context: ssl.SSLContext, leaf: Leaf) -> None:
    """`load_cert_chain` reads only files; a memory file keeps the key off every disk."""
    descriptor = os.memfd_create("roamd-leaf", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, leaf.key_pem + leaf.cert_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _shake_hands_in_memory(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Raise ssl.SSLError unless the two reach each other; a byte is sent, for a client is done before it is judged."""
    upward, downward = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(downward, upward, server_side=False)
    answerer = server.wrap_bio(upward, downward, server_side=True)
    _step(caller)
    _step(answerer)
    caller.do_handshake()
    answerer.do_handshake()
    answerer.write(b"!")
    caller.read(1)


def _step(side: ssl.SSLObject) -> None:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return
