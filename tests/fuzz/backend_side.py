"""Targets: what the API takes in requests, in headers and on the stream, and what a backend answers."""

from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import msgspec
from aiohttp import StreamReader

from roamd.backend.auth import KeyHolder
from roamd.backend.authorizations import parse_authorization, parse_authorizations, traceparent_of
from roamd.backend.batch import MAX_FAILED, _Run, read_lines
from roamd.backend.context import Api
from roamd.backend.events import AckIn
from roamd.backend.examples import AUTHORIZATION
from roamd.backend.idempotency import checked_key
from roamd.backend.messages import UnreadableFrame, read_frame
from roamd.backend.objects import FEEDS, evse_patch, matches_etag, patch_text
from roamd.backend.operate import BackupIn, InviteIn, PairIn, RemoveIn
from roamd.backend.problems import problem_of
from roamd.backend.questions import read_answer
from roamd.backend.records import parse_records
from roamd.backend.requests import (
    canonical_party,
    checked_ocpi,
    checked_peer,
    decode_strictly,
    is_array,
    warning_header,
)
from roamd.backend.stream import Stream
from roamd.clock import SystemClock
from roamd.errors import RoamdError
from roamd.model.body import find_evse, is_status_only, merge_evse, merge_patch
from roamd.model.credentials import credential
from roamd.model.objects import check_object, check_peer_object, check_peer_record, check_record
from roamd.protocol.calls import AuthorizeRequest
from roamd.roaming.authorization.home import checked_answer
from roamd.roaming.cursors import CursorSeal, Place
from roamd.roaming.events import cursor_number
from roamd.roaming.lists import cursor_after, key_after
from roamd.roaming.operations import Authorize, PutObjects, StoredObject
from roamd.roaming.ports import NoAnswer
from tests.fuzz.samples import objects, records
from tests.model.bodies import text

OWN = frozenset({"DEABC"})
VERSIONS = ("2.3.0", "2.2.1")
SMALL = 16 * 1024
"""Up to here a target also asks whether both sides would understand the same, which the daemon does elsewhere."""
NOW_MS = 1_795_000_000_000


# --- objects ----------------------------------------------------------------------------------------------------


def an_object(data: bytes) -> None:
    """A PUT: its feed and version in the first byte. What is accepted must be acceptable to a peer as it is."""
    choice = data[0] if data else 0
    feed, ocpi = FEEDS[choice % len(FEEDS)], VERSIONS[choice // len(FEEDS) % 2]
    checked = check_object(feed, ocpi, data[1:], own_parties=OWN)
    warning_header(checked.warnings)
    _storable(*checked.key)
    if len(data) > SMALL:
        return
    again = check_peer_object(feed, ocpi, checked.body, claimed=checked.key)
    if (again.body, again.key) != (checked.body, checked.key):
        raise AssertionError("a peer would read another object than the one that was accepted")


def _storable(*texts: str | None) -> None:
    """What SQLite and the link take as text."""
    for each in texts:
        if each is not None:
            each.encode()


def object_seeds() -> list[bytes]:
    """One of each feed."""
    return [bytes([FEEDS.index(feed)]) + text(body) for feed, body in objects().items()]


def patch(data: bytes) -> None:
    """A PATCH of a location or, by the first byte, of an EVSE; the result is checked as a whole object again."""
    location = text(objects()["locations"])
    if data[:1] == b"\1":
        patched = evse_patch(data[1:], "2.3.0", NOW_MS)
        is_status_only(patched)
        find_evse(location, "3256")
        merged = merge_evse(location, "3256", patched)
    else:
        merged = merge_patch(location, patch_text(data[1:]))
    check_object("locations", "2.3.0", merged or location, own_parties=OWN)


def patch_seeds() -> list[bytes]:
    """A status, a removal, a nested change."""
    status = {"status": "CHARGING", "last_updated": "2026-11-22T10:00:00Z"}
    return [
        b"\0" + text({"name": None, "coordinates": {"latitude": "51.000000", "longitude": "3.000000"}}),
        *(b"\1" + text(body) for body in (status, {"status": "CHARGING"}, {**status, "floor_level": "2"})),
    ]


def record(data: bytes) -> None:
    """A POST of records, one or many."""
    checked = parse_records(data, "2.3.0", OWN) if is_array(data) else [check_record("2.3.0", data, own_parties=OWN)]
    for each in checked:
        _storable(*each.key, each.token_uid, each.contract_id, each.authorization_reference)
        [item.as_json() for item in each.items[:100]]
        if len(data) <= SMALL and check_peer_record("2.3.0", each.body).key != each.key:
            raise AssertionError("a peer would read another record than the one that was accepted")


def record_seeds() -> list[bytes]:
    """Each kind, and both in an array."""
    bodies = [body for _, body in records()]
    return [*bodies, b"[" + b",".join(bodies) + b"]"]


# --- authorizations and small requests ----------------------------------------------------------------------------


def authorization(data: bytes) -> None:
    """A POST of authorizations, one or many, down to the bytes that go to the peer."""
    asked = parse_authorizations(data, 3000, None, None) if is_array(data) else [parse_authorization(data, 3000)]
    for each in asked:
        _request(each)


def _request(asked: Authorize) -> None:
    """As `roaming.authorization.visited` does."""
    given, place = asked.credential, asked.location
    known = credential(given.type, given.uid, given.contract_id)
    _storable(known.type, known.uid, known.contract)
    request = AuthorizeRequest(given.type, known.uid, given.contract_id, service=asked.service, party="DEABC")
    if place is not None:
        named = {"location_id": place.location_id, "evse_uid": place.evse_uid, "connector_id": place.connector_id}
        request = msgspec.structs.replace(request, **named)
    request.pack()


def authorization_seeds() -> list[bytes]:
    """One, and an array."""
    return [text(AUTHORIZATION), text([AUTHORIZATION, AUTHORIZATION])]


SMALL_BODIES: tuple[type[Any], ...] = (AckIn, InviteIn, PairIn, RemoveIn, BackupIn)


def small_request(data: bytes) -> None:
    """Everything else that is posted, by the first byte; and headers and parameters."""
    choice, body = (data[0], data[1:]) if data else (0, b"")
    words = body[:400].decode("latin-1")
    for check in (checked_key, traceparent_of, checked_peer, canonical_party, checked_ocpi):
        _refused_or_not(check, words)
    matches_etag(words, '"v1"')
    msgspec.json.encode(decode_strictly(body, SMALL_BODIES[choice % len(SMALL_BODIES)]))


def _refused_or_not(check: Callable[[str], object], words: str) -> None:
    try:
        check(words)
    except RoamdError as error:
        msgspec.json.encode(problem_of(error))


def small_request_seeds() -> list[bytes]:
    """One of each."""
    bodies = (
        {"cursor": "3"},
        {"auto": True, "hours": 1.5},
        {"line": "roamd-invite-1.x"},
        {"park": True},
        {"path": "/x"},
    )
    return [bytes([index]) + text(body) for index, body in enumerate(bodies)]


def cursor(data: bytes) -> None:
    """Cursors of events, of lists and of feeds that were never given here."""
    words = data.decode(errors="replace")
    CursorSeal(bytes(32)).open("xyz", "locations", data[:64])
    for read in (cursor_after, key_after):
        _refused_or_not(read, words)
    if cursor_number(words) >= 1 << 63:
        raise AssertionError("a cursor that SQLite cannot take")


def cursor_seeds() -> list[bytes]:
    """One of each kind."""
    sealed = CursorSeal(bytes(32)).seal("xyz", "locations", Place(bytes(16), 1, 1, 0))
    if CursorSeal(bytes(32)).open("xyz", "locations", sealed) is None:
        raise AssertionError("our own cursor does not open")
    return [b"", b"0", b"123456789012345678"]


# --- batches ------------------------------------------------------------------------------------------------------


class Stub:
    """A core that stores everything, and a reader that has everything; nothing waits."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks
        self.taken = 0

    async def iter_any(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk

    async def ask(self, asked: PutObjects) -> list[StoredObject]:
        self.taken += len(asked.checked)
        return [StoredObject(each.body, '"1"', each.ocpi, created=True, changed=True) for each in asked.checked]

    def tell(self, operation: object, reply: object) -> None:
        self.taken += 1


def api_of(core: Any) -> Api:
    return Api(core, KeyHolder("k" * 20), SystemClock(), OWN)


CHUNK = 64 * 1024


def batch(data: bytes) -> None:
    """NDJSON, as it comes off the socket in pieces."""
    stub = Stub([data[at : at + CHUNK] for at in range(0, len(data), CHUNK)])
    _to_its_end(_read_batch(stub))


async def _read_batch(stub: Stub) -> None:
    run = _Run(api_of(stub), "locations", "2.3.0", None)
    async for number, line in read_lines(cast(StreamReader, stub)):
        await run.take(number, line)
        if run.summary.failed_count >= MAX_FAILED:
            break
    await run.flush()
    msgspec.json.encode(run.summary)


def _to_its_end(coroutine: Any) -> None:
    """Run a coroutine that never waits, without a loop's cost."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration:
        return


def batch_seeds() -> list[bytes]:
    """Good lines, blank ones, one without an end."""
    location = text(objects()["locations"])
    return [location + b"\n\n" + location + b"\r\n" + location]


# --- the stream -----------------------------------------------------------------------------------------------------


def stream_frame(data: bytes) -> None:
    """A text frame, through reading and every operation; a frame that cannot be read ends the connection."""
    try:
        messages = read_frame(data)
    except UnreadableFrame:
        return
    core = Stub([])
    stream = Stream(api_of(core), cast(Any, None))
    for each in messages:
        if getattr(each, "op", "") not in NEED_A_LOOP:
            stream._take(each)


NEED_A_LOOP = ("events.subscribe",)
"""They start tasks; what they carry is one cursor."""


def stream_frame_seeds() -> list[bytes]:
    """Every operation."""
    messages: list[dict[str, Any]] = [
        {"op": "authorize", "id": 1, "body": AUTHORIZATION, "idempotency_key": "k", "traceparent": "x"},
        {"op": "record", "id": "r", "body": msgspec.json.decode(records()[0][1]), "peer": "xyz"},
        {"op": "put", "id": 2, "feed": "locations", "key": "LOC1", "body": objects()["locations"], "echo": True},
        {"op": "patch", "id": 3, "feed": "locations", "key": "LOC1", "body": {"name": None}, "party": "DE*ABC"},
        {"op": "patch_evse", "key": "LOC1", "evse": "3256", "body": {"status": "CHARGING"}},
        {"op": "delete", "feed": "tariffs", "key": "T1", "if_match": "*"},
        {"op": "get", "feed": "tariffs", "key": "T1", "peer": "xyz", "type": "RFID"},
        {"op": "events.ack", "cursor": "3"},
        {"op": "events.unsubscribe"},
        {"op": "questions.subscribe"},
        {"op": "questions.unsubscribe"},
        {"op": "answer", "id": "1", "body": {"decision": "ALLOWED"}},
        {"op": "nonsense"},
    ]
    return [text(messages), *(text([each]) for each in messages)]


def backend_answer(data: bytes) -> None:
    """What a backend answers to a question, down to the bytes that go to the peer that asked."""
    told = read_answer(data)
    if not isinstance(told, NoAnswer):
        checked = checked_answer(told, "0" * 32)
        if not isinstance(checked, NoAnswer):
            checked.pack()


def backend_answer_seeds() -> list[bytes]:
    """A full answer and a short one."""
    full = {"decision": "ALLOWED", "reason": "", "authorization_reference": "r", "valid_until": "2026-11-22T10:00:00Z"}
    return [
        text({**full, "location": {"location_id": "1"}, "info": {"text": "x"}, "more": 1}),
        text({"decision": "BLOCKED"}),
    ]
