"""A small DNS server on loopback, UDP and TCP on one port, with dnspython's messages: real enough for a resolver.

    async with NameServer() as server:
        server.put("_roamd._tcp.roam.example", "PTR", "abc._roamd._tcp.roam.example.")
        finder = DnsSdFinder(["roam.example"], os.urandom, servers=server.addresses)

It answers from its zone as a recursive server would: what is too long for a datagram is cut off there and whole over
TCP. `spoil` makes it misbehave: it is given query and answer, and gives the bytes that are sent, or None for silence.
"""

from collections.abc import Callable
from types import TracebackType

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import trio

Spoil = Callable[[dns.message.Message, dns.message.Message], bytes | None]
Key = tuple[str, str]


class NameServer:
    """`asked` holds every question in order, with the way that it came: (name, type, "udp" or "tcp")."""

    def __init__(self) -> None:
        self.zone: dict[Key, dns.rrset.RRset] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.spoil: Spoil | None = None
        self.rcodes: dict[Key, dns.rcode.Rcode] = {}
        self.silent = False
        self._manager = trio.open_nursery()

    def put(self, name: str, kind: str, *records: str, ttl_s: int = 300) -> None:
        """Put these records in the place of those of that name and type."""
        self.zone[name.lower(), kind] = dns.rrset.from_text_list(f"{name}.", ttl_s, "IN", kind, records)

    def serve_one(self, domain: str, label: str, host: str, port: int, *texts: str, ttl_s: int = 300) -> None:
        """A domain with one service."""
        instance = f"{label}._roamd._tcp.{domain}"
        self.put(f"_roamd._tcp.{domain}", "PTR", f"{instance}.", ttl_s=ttl_s)
        self.put(instance, "SRV", f"0 0 {port} {host}.", ttl_s=ttl_s)
        if texts:
            self.put(instance, "TXT", " ".join(f'"{text}"' for text in texts), ttl_s=ttl_s)

    def addresses(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", self.port)]

    def answer_to(self, query: dns.message.Message) -> dns.message.Message:
        """As the zone has it."""
        answer = dns.message.make_response(query, recursion_available=True)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        found = self.zone.get((name, kind)) or self.zone.get((name, "CNAME"))
        if found is not None:
            answer.answer.append(found)
        elif all(key[0] != name for key in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        answer.set_rcode(self.rcodes.get((name, kind), answer.rcode()))
        return answer

    def _handle(self, wire: bytes, way: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        self.asked.append((name, dns.rdatatype.to_text(question.rdtype), way))
        if self.silent:
            return None
        answer = self.answer_to(query)
        if self.spoil is not None:
            return self.spoil(query, answer)
        whole = answer.to_wire(max_size=65535)
        if way == "tcp" or len(whole) <= query.payload:
            return whole
        answer.answer.clear()
        answer.flags |= dns.flags.TC
        return answer.to_wire()

    async def _serve_udp(self, socket: trio.socket.SocketType) -> None:
        with socket:
            while True:
                wire, address = await socket.recvfrom(4096)
                answer = self._handle(wire, "udp")
                if answer is not None:
                    await socket.sendto(answer, address)

    async def _serve_tcp(self, stream: trio.SocketStream) -> None:
        async with stream:
            size = await stream.receive_some(2)
            wire = await stream.receive_some(int.from_bytes(size, "big"))
            answer = self._handle(bytes(wire), "tcp")
            if answer is None:
                await trio.sleep_forever()
            else:
                await stream.send_all(len(answer).to_bytes(2, "big") + answer)

    async def __aenter__(self) -> "NameServer":
        nursery = await self._manager.__aenter__()
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = int(listeners[0].socket.getsockname()[1])
        socket = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await socket.bind(("127.0.0.1", self.port))
        nursery.start_soon(self._serve_udp, socket)
        nursery.start_soon(trio.serve_listeners, self._serve_tcp, listeners)
        self._nursery = nursery
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._nursery.cancel_scope.cancel()
        return bool(await self._manager.__aexit__(kind, error, trace))
