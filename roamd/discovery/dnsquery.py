"""One question to the DNS, with bounds on what may come back.

The messages are dnspython's, the sockets our own, on trio. Not `dns.asyncresolver`: it reads whatever arrives, on the
loop, and 63 KB of well-chosen names (4,500 records of 126 labels each) keep it busy for ten seconds, during which no
driver is answered. Here a message has a size limit, its records are counted and its names measured before any is read,
and the reading is done in a thread.

A question is for a recursive name server, which follows what is delegated. Over UDP first; what is cut off is asked
again over TCP. An answer is taken only from the address that was asked, with the id that was drawn for it and the same
question; nothing more is believed of it than of any stranger.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
import trio

from roamd.errors import PeerError

ATTEMPT_S: Final = 3.0
"""For one server and one try: as resolvers do, and enough for a recursive server that has to ask around the world."""

ROUNDS: Final = 2
"""A datagram may be lost."""

UDP_PAYLOAD: Final = 1232
"""What passes every network in one piece (DNS flag day 2020)."""

MAX_MESSAGE: Final = 8 * 1024
MAX_RECORDS: Final = 160
"""In all sections: 64 services with their records beside them."""

MAX_LABELS: Final = 16
"""Of one name, pointers counted; those of services have about seven. The time that dnspython takes for a name grows
with the square of its labels: 160 records of two names with 126 labels, as RFC 1035 allows, took half a second."""

_HEADER: Final = struct.Struct("!HHHHHH")
_QUESTION: Final = struct.Struct("!HH")
_RECORD: Final = struct.Struct("!HHIH")
_POINTER: Final = 0xC0
_TRUNCATED: Final = 0x0200

NameServer = tuple[str, int]
"""IP address and port."""


class LookupFailedError(PeerError):
    """No server gave a usable answer; the message says why of the last one. It may work later."""

    code = "lookup-failed"


@dataclass(frozen=True, slots=True)
class Found:
    """The records of the name, none when there is no such name or it has none of the type; good for `ttl_s`."""

    records: tuple[Any, ...]
    ttl_s: int


def system_name_servers() -> list[NameServer]:
    """Those of /etc/resolv.conf, read anew; none when there is no such file."""
    try:
        resolver = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        return []
    return [(server, resolver.port) for server in resolver.nameservers if isinstance(server, str)]


async def ask(
    name: dns.name.Name,
    kind: dns.rdatatype.RdataType,
    servers: Sequence[NameServer],
    random: Callable[[int], bytes],
) -> Found:
    """The records of that type; each server is tried in turn, then all once more. Raises LookupFailedError."""
    query = dns.message.make_query(name, kind, id=int.from_bytes(random(2), "big"), use_edns=0, payload=UDP_PAYLOAD)
    reason = "there is no name server in /etc/resolv.conf"
    for server in (*servers,) * ROUNDS:
        try:
            with trio.fail_after(ATTEMPT_S):
                answer = await _exchange(query.to_wire(), server)
            return await trio.to_thread.run_sync(read_answer, query, answer)
        except trio.TooSlowError:
            reason = f"{server[0]} does not answer"
        except (OSError, trio.BrokenResourceError, LookupFailedError) as error:
            reason = f"{server[0]}: {error}"
    raise LookupFailedError(reason)


async def _exchange(wire: bytes, server: NameServer) -> bytes:
    answer = await _by_datagram(wire, server)
    return await _by_stream(wire, server) if _header(answer)[1] & _TRUNCATED else answer


async def _by_datagram(wire: bytes, server: NameServer) -> bytes:
    """What does not carry our id is somebody else's guess: the right one may still come."""
    family = trio.socket.AF_INET6 if ":" in server[0] else trio.socket.AF_INET
    with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as socket:
        await socket.connect(server)
        await socket.send(wire)
        while True:
            answer = await socket.recv(MAX_MESSAGE + 1)
            if len(answer) >= _HEADER.size and answer[:2] == wire[:2]:
                return answer


async def _by_stream(wire: bytes, server: NameServer) -> bytes:
    async with await trio.open_tcp_stream(*server) as stream:
        await stream.send_all(len(wire).to_bytes(2, "big") + wire)
        size = int.from_bytes(await _exactly(stream, 2), "big")
        if size > MAX_MESSAGE:
            raise LookupFailedError(f"an answer of {size} bytes is not read, only up to {MAX_MESSAGE}")
        return await _exactly(stream, size)


async def _exactly(stream: trio.SocketStream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        if not more:
            raise LookupFailedError("the answer was cut off")
        data += more
    return bytes(data)


def _header(answer: bytes) -> tuple[int, ...]:
    """Id, flags, and how many entries there are in each of the four sections."""
    if len(answer) < _HEADER.size:
        raise LookupFailedError("the answer is cut off")
    return _HEADER.unpack_from(answer)


def read_answer(query: dns.message.QueryMessage, answer: bytes) -> Found:
    """What a stranger's message says, within the bounds; to be called in a thread, as names can be made slow to read.

    Raises LookupFailedError.
    """
    count = sum(_header(answer)[2:])
    if len(answer) > MAX_MESSAGE or count > MAX_RECORDS:
        raise LookupFailedError(f"an answer with {count} entries is not read, only with up to {MAX_RECORDS}")
    _require_short_names(answer)
    try:
        return _records(query, dns.message.from_wire(answer))
    except dns.exception.DNSException as error:
        raise LookupFailedError(f"the answer cannot be read: {error}") from error


# --- before it is read ------------------------------------------------------------------------------------------

_NAMES_IN: Final[Mapping[int, tuple[int, int]]] = {
    dns.rdatatype.PTR: (0, 1),
    dns.rdatatype.CNAME: (0, 1),
    dns.rdatatype.DNAME: (0, 1),
    dns.rdatatype.NS: (0, 1),
    dns.rdatatype.SOA: (0, 2),
    dns.rdatatype.SRV: (6, 1),
    dns.rdatatype.TXT: (0, 0),
    dns.rdatatype.A: (0, 0),
    dns.rdatatype.AAAA: (0, 0),
    dns.rdatatype.OPT: (0, 0),
}
"""Where in a record's data names begin, and how many. No other type comes unasked in an answer to our questions: those
of DNSSEC only where the question asks for them (RFC 4035, 3.2.1)."""


def _require_short_names(answer: bytes) -> None:
    """Walk over the message without keeping anything. Raises LookupFailedError for what dnspython is not to see."""
    questions, *sections = _header(answer)[2:]
    at = _HEADER.size
    try:
        for _ in range(questions):
            at = _behind_name(answer, at) + _QUESTION.size
        for _ in range(sum(sections)):
            at = _behind_name(answer, at)
            kind, _, _, size = _RECORD.unpack_from(answer, at)
            at += _RECORD.size
            _require_short_names_in(kind, answer, at)
            at += size
    except (IndexError, struct.error):
        raise LookupFailedError("the answer is cut off") from None


def _require_short_names_in(kind: int, answer: bytes, at: int) -> None:
    if kind not in _NAMES_IN:
        raise LookupFailedError(f"the answer has records of type {kind}, which was not asked for")
    offset, names = _NAMES_IN[kind]
    at += offset
    for _ in range(names):
        at = _behind_name(answer, at)


def _behind_name(answer: bytes, at: int) -> int:
    """Where what follows a name begins. A pointer leads to where the name goes on (RFC 1035, 4.1.4)."""
    behind = None
    for _ in range(MAX_LABELS):
        size = answer[at]
        if size < _POINTER:
            at += 1 + size
            if not size:
                return behind or at
        else:
            behind = behind or at + 2
            at = (size & ~_POINTER) << 8 | answer[at + 1]
    raise LookupFailedError(f"a name in the answer has more than {MAX_LABELS} labels")


# --- reading ----------------------------------------------------------------------------------------------------


def _records(query: dns.message.QueryMessage, message: dns.message.Message) -> Found:
    if not query.is_response(message) or not isinstance(message, dns.message.QueryMessage):
        raise LookupFailedError("the answer is to another question")
    if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise LookupFailedError(f"the answer is {dns.rcode.to_text(message.rcode())}")
    chain = message.resolve_chaining()
    return Found(tuple(chain.answer or ()), chain.minimum_ttl)
