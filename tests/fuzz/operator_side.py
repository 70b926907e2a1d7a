"""Targets: what the operator's machine reads: its configuration, and what the local network says."""

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import dns.message
import dns.rrset
from zeroconf.asyncio import AsyncServiceInfo

from roamd.clock import SystemClock
from roamd.config.load import load
from roamd.config.template import EXAMPLE, render
from roamd.discovery.board import Board
from roamd.discovery.dnsquery import read_answer
from roamd.discovery.dnssd import shown_name
from roamd.discovery.dnssd import sighting_of as sighting_in_zone
from roamd.discovery.finder import Veil
from roamd.discovery.mdns import SERVICE_TYPE, sighting_of

ENDPOINT = "A" * 56


@cache
def _directory() -> Path:
    """One for the whole run, in memory where that is to be had: a file a run, and no disk."""
    memory = Path("/dev/shm")
    room = tempfile.mkdtemp(prefix="roamd-fuzz-", dir=memory if os.access(memory, os.W_OK) else None)
    atexit.register(shutil.rmtree, room, ignore_errors=True)
    return Path(room)


def configuration(data: bytes) -> None:
    """A file `roamd.toml`, and one variable of the environment with the same bytes as far as they can stand there."""
    file = _directory() / "roamd.toml"
    file.write_bytes(data)
    words = data.replace(b"\0", b"")[:4096].decode(errors="surrogateescape")
    load(file, {"ROAMD__LINK__HEARTBEAT_S": words} if words.startswith("[") else {})


def configuration_seeds() -> list[bytes]:
    """What `roamd init` writes, and a file with every section in use."""
    full = """\
endpoint = {parties = ["DE*ABC"], roles = ["cso", "csp"], name = "ABC Charging"}
[link]
listen = "[::]:63119"
advertise = "roam.abc.example:63119"
heartbeat_s = 30.5
[api]
listen = "unix:api.sock"
[backend]
url = "http://127.0.0.1:9000/roamd"
key = "secret"
[[webhooks]]
url = "https://backend.example/hook"
secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
events = ["record.received"]
[[candidates]]
address = "192.0.2.1:63119"
"""
    return [render(EXAMPLE).encode(), full.encode()]


# --- mDNS -----------------------------------------------------------------------------------------------------------


def mdns(data: bytes) -> None:
    """A service's TXT record, its port and addresses in the first bytes; then the board, as the finder's port does."""
    port = int.from_bytes(data[:2], "big")
    addresses = [data[at : at + 4] for at in range(2, 2 + 4 * (data[2] % 12 if len(data) > 2 else 0), 4)]
    whole = [address for address in addresses if len(address) == 4]
    name = f"{data[2:10].hex() or 'x'}.{SERVICE_TYPE}"
    info = AsyncServiceInfo(SERVICE_TYPE, name, port=port, addresses=whole, properties=data[3:])
    sighting = sighting_of(info)
    if sighting is not None:
        board = Board(SystemClock(), "B" * 56, lambda: [ENDPOINT])
        board.take(sighting)
        [candidate.as_dict() for candidate in board.candidates()]


def mdns_seeds() -> list[bytes]:
    """A peer's service."""
    veil = Veil.over(ENDPOINT, bytes(16))
    words = [b"salt=" + veil.salt.hex().encode(), b"tag=" + veil.tag.hex().encode()]
    txt = b"".join(bytes([len(word)]) + word for word in words)
    seed = (63119).to_bytes(2, "big") + b"\1" + txt
    if (
        sighting_of(AsyncServiceInfo(SERVICE_TYPE, f"x.{SERVICE_TYPE}", port=1, addresses=[bytes(4)], properties=txt))
        is None
    ):
        raise AssertionError("our own service is not recognised")
    return [seed]


# --- DNS ------------------------------------------------------------------------------------------------------------

_NAME = "_roamd._tcp.roam.example."
_ZONE = {
    "PTR": [f"abc.{_NAME}", f"xyz.{_NAME}"],
    "SRV": ["0 0 63119 roamd.abc.example.", "10 5 63119 other.abc.example."],
    "TXT": [f'"id={ENDPOINT}" "salt={bytes(16).hex()}" "tag={bytes(16).hex()}"'],
}


def _query(kind: str) -> dns.message.QueryMessage:
    return dns.message.make_query(_NAME, kind, id=1, use_edns=0)


def dns_answer(data: bytes) -> None:
    """A name server's message, to a question that its first byte chooses; then what is taken from its records."""
    kind = [*_ZONE][data[0] % len(_ZONE)] if data else "PTR"
    records = read_answer(_query(kind), data[1:]).records
    server = dns.rrset.from_text(_NAME, 60, "IN", "SRV", _ZONE["SRV"][0])
    match kind:
        case "PTR":
            [shown_name(record.target) for record in records]
        case "SRV":
            sighting_in_zone("x", records, ())
        case _:
            sighting_in_zone("x", server, records)


def dns_answer_seeds() -> list[bytes]:
    """One of each type."""
    seeds = []
    for index, (kind, texts) in enumerate(_ZONE.items()):
        answer = dns.message.make_response(_query(kind))
        answer.answer.append(dns.rrset.from_text_list(_NAME, 60, "IN", kind, texts))
        seeds.append(bytes([index]) + answer.to_wire())
    return seeds
