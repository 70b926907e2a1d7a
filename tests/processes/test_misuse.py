"""What must not be: bad input by HTTP, strangers on the link port. Nothing is stored, nobody else notices."""

import contextlib
import json
import os
import socket
import ssl
from typing import Any

import pytest

from roamd.clock import SystemClock
from roamd.demo import objects
from roamd.demo.client import Reply
from roamd.trust.identity import Identity
from roamd.trust.leaf import issue_leaf
from tests.processes.conftest import Pair
from tests.support.daemons import Company

NOW_MS = 1_780_000_000_000
STATION = objects.location(NOW_MS)
BILL = objects.cdr("MISUSE-1", objects.LISTED_DRIVER, NOW_MS)


def faults(reply: Reply) -> set[str]:
    """The paths that a problem names; fails unless it is one."""
    assert reply.headers["Content-Type"].startswith("application/problem+json")
    assert reply.body["status"] == reply.status
    assert reply.body["code"]
    assert "Traceback" not in json.dumps(reply.body)
    return {fault["path"] for fault in reply.body.get("faults", ())}


# --- bad input --------------------------------------------------------------------------------------------------

BAD_LOCATIONS: list[tuple[str, Any, int, set[str]]] = [
    ("no JSON", b'{"id": "X",', 422, {"$"}),
    ("no UTF-8", b'{"id": "\xff"}', 422, {"$"}),
    ("an array", [STATION], 422, {"$"}),
    ("NaN", json.dumps(STATION | {"coordinates": float("nan")}).encode(), 422, {"$"}),
    ("wrong types", STATION | {"publish": "yes", "evses": {}}, 422, {"$.publish", "$.evses"}),
    (
        "missing fields and a bad date",
        {k: v for k, v in STATION.items() if k not in ("city", "country")} | {"last_updated": "tomorrow"},
        422,
        {"$.city", "$.country", "$.last_updated"},
    ),
    ("an over-long id", STATION | {"id": "X" * 37}, 422, {"$.id"}),
    ("a foreign owner", STATION | {"country_code": "FR", "party_id": "RMD"}, 422, {"$.country_code"}),
    ("a key twice", json.dumps(STATION)[:-1].encode() + b', "id": "X"}', 422, {"$.id"}),
    ("too deep", b"[" * 100_000 + b"]" * 100_000, 422, {"$"}),
    ("an object over 256 KiB", STATION | {"name_of_all": "x" * 262_144}, 413, set()),
    ("a body over 8 MiB", b'"' + b"x" * (8 << 20) + b'"', 413, set()),
]


@pytest.mark.parametrize(("what", "body", "status", "paths"), BAD_LOCATIONS, ids=[row[0] for row in BAD_LOCATIONS])
def test_a_faulty_location_is_refused_with_every_path_and_not_stored(
    pair: Pair, what: str, body: Any, status: int, paths: set[str]
) -> None:
    name = body["id"] if what == "an over-long id" else "BAD-1"
    if isinstance(body, dict) and what != "an over-long id":
        body = body | {"id": "BAD-1"}
    reply = pair.cso.api.request("PUT", f"/v1/locations/{name}", body)
    assert reply.status == status
    assert faults(reply) >= paths
    assert pair.cso.api.request("GET", f"/v1/locations/{name}").status == 404


def test_an_id_that_is_not_the_paths_is_refused(pair: Pair) -> None:
    reply = pair.cso.api.request("PUT", "/v1/locations/OTHER", STATION)
    assert (reply.status, faults(reply)) == (422, {"$.id"})


BAD_RECORDS: list[tuple[str, Any, int, set[str]]] = [
    ("no JSON", b"{", 422, {"$"}),
    ("wrong types", BILL | {"total_energy": "twenty", "currency": 978}, 422, {"$.total_energy", "$.currency"}),
    ("an over-long id", BILL | {"id": "X" * 40}, 422, {"$.id"}),
    ("a foreign party", BILL | {"country_code": "FR", "party_id": "RMD"}, 422, {"$.country_code"}),
    ("one bad of two", [BILL, BILL | {"id": "MISUSE-2", "currency": 1}], 422, {"$[1].currency"}),
    ("over 256 KiB", BILL | {"remark": "x" * 262_144}, 413, set()),
]


@pytest.mark.parametrize(("what", "body", "status", "paths"), BAD_RECORDS, ids=[row[0] for row in BAD_RECORDS])
def test_a_faulty_record_is_refused_with_every_path_and_not_stored(
    pair: Pair, what: str, body: Any, status: int, paths: set[str]
) -> None:
    before = pair.cso.api.get("/v1/status")["records"]
    reply = pair.cso.api.request("POST", "/v1/records", body)
    assert reply.status == status
    assert faults(reply) >= paths
    assert pair.cso.api.get("/v1/status")["records"] == before


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/authorizations", {"credential": {"type": "RFID"}}, 422),
        ("POST", "/v1/authorizations", {"credential": {"type": "RFID", "uid": "1"}, "deadline_ms": "soon"}, 422),
        ("POST", "/v1/events/ack", {"cursor": "x"}, 422),
        ("GET", "/v1/events?after=%00", None, 422),
        ("GET", "/v1/records?state=LOST", None, 422),
        ("GET", "/v1/peers/nobody", None, 404),
        ("POST", "/v1/peers/nobody/suspend", None, 404),
        ("GET", "/v1/nothing", None, 404),
        ("DELETE", "/v1/status", None, 405),
        ("POST", "/v1/pairings", {"line": "roamd-invite-1.NONSENSE"}, 422),
    ],
)
def test_every_refusal_is_a_problem(pair: Pair, method: str, path: str, body: Any, status: int) -> None:
    reply = pair.cso.api.request(method, path, body)
    assert reply.status == status, reply.body
    faults(reply)


def test_without_the_key_nothing_is_told(pair: Pair) -> None:
    reply = pair.cso.api.request("GET", "/v1/peers", headers={"Authorization": "Bearer wrong"})
    assert reply.status == 401
    faults(reply)


# --- strangers on the link port ---------------------------------------------------------------------------------


def lines(company: Company, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in company.daemon.log_file.read_text().splitlines()]
    return [line for line in found if line["event"] == event]


def knock(company: Company) -> socket.socket:
    host, _, port = company.daemon.link_address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5)


def garbage(company: Company) -> None:
    with knock(company) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: roamd\r\n\r\n" + os.urandom(4096))
        stranger.shutdown(socket.SHUT_WR)
        while stranger.recv(4096):
            pass


def own_tls(company: Company) -> None:
    """A well-made endpoint that nobody paired with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["roamd/1"])
    room = company.daemon.directory / "stranger.pem"
    leaf = issue_leaf(Identity.create(SystemClock().now_ms()), SystemClock().now_ms())
    room.write_bytes(leaf.key_pem + leaf.cert_pem)
    context.load_cert_chain(room)
    with knock(company) as plain, context.wrap_socket(plain) as stranger:
        stranger.sendall(os.urandom(4096))
        while stranger.recv(4096):
            pass


@pytest.mark.parametrize(("stranger", "reason"), [(garbage, None), (own_tls, "unknown-identity")])
def test_a_stranger_gets_one_line_in_the_log_and_others_do_not_notice(
    pair: Pair, stranger: Any, reason: str | None
) -> None:
    before, refused = pair.cso.peer(pair.csp)["last_up_at"], len(lines(pair.cso, "handshake_refused"))

    def knocked() -> list[dict[str, Any]] | None:
        """Again and again: refusals for the same reason are told once a second."""
        with contextlib.suppress(ssl.SSLError, ConnectionError):  # being shown the door is what should happen
            stranger(pair.cso)
        return lines(pair.cso, "handshake_refused")[refused:] or None

    news = pair.fleet.wait_until("the refusal's line", knocked)
    assert len(news) == 1
    assert reason in (None, news[0]["reason"])
    assert "peer" not in news[0]
    assert pair.cso.link_is_up(pair.csp)
    assert pair.cso.peer(pair.csp)["last_up_at"] == before, "the link to the partner was never touched"
