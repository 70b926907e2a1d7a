"""Targets: what an OCPI backend says to the face, in bodies, paths and headers, and what it answers when it is called.

Much of it is mended before it is checked, text within text, so mending has a target of its own: whatever comes in, the
result is JSON again, and an object that was good is not made worse.
"""

import contextlib

import msgspec

from roamd.backend.ocpi.asked import segments_of
from roamd.backend.ocpi.authorize import read_place
from roamd.backend.ocpi.backends import candidates
from roamd.backend.ocpi.caller import Reply, leads_to_slash, read_reply
from roamd.backend.ocpi.cards import read_info
from roamd.backend.ocpi.carried import read_result, words_of
from roamd.backend.ocpi.credentials import read_credentials
from roamd.backend.ocpi.mend import Mending, mend, with_nulls, without_nulls
from roamd.backend.ocpi.texts import appended_periods, object_text, stamp_of
from roamd.errors import RoamdError
from roamd.model.objects import check_object, check_record
from roamd.roaming.ports import NoAnswer
from tests.fuzz.samples import objects, records
from tests.model.bodies import text

OWN = frozenset({"DEABC"})
KINDS = {"Location": "locations", "Tariff": "tariffs", "Token": "user-credentials", "Session": "sessions", "CDR": ""}
VERSIONS = ("2.3.0", "2.2.1")
SMALL = 16 * 1024
"""Up to here a target also asks what the daemon need not ask of what a stranger sends."""

SESSION = text({"charging_periods": [{"start_date_time": "2026-11-22T10:00:00Z", "dimensions": []}]})


def ocpi_mending(data: bytes) -> None:
    """A body that is put or posted, its class and version in the first byte: checked, mended and checked again."""
    choice = data[0] if data else 0
    kind, version = [*KINDS][choice % len(KINDS)], VERSIONS[choice // len(KINDS) % 2]
    with contextlib.suppress(RoamdError):
        _check(kind, version, data[1:])
    given = object_text(data[1:])[0]
    mended = mend(kind, given, Mending(version, token=b"{}", location=b"{}", fill=choice >= 128))
    if len(data) <= SMALL:
        for each in (mended, without_nulls(mended), with_nulls(kind, version, mended)):
            msgspec.json.decode(each)
    if mended != given:
        _check(kind, version, mended)


def _check(kind: str, version: str, text: bytes) -> None:
    if kind == "CDR":
        check_record(version, text, own_parties=OWN)
    else:
        check_object(KINDS[kind], version, text, own_parties=OWN)


def ocpi_mending_seeds() -> list[bytes]:
    """One of each class."""
    bodies = {**{feed: text(body) for feed, body in objects().items()}, "": records()[0][1]}
    return [bytes([number]) + bodies[feed] for number, feed in enumerate(KINDS.values())]


def ocpi_request(data: bytes) -> None:
    """The smaller bodies and what stands in the request line and the headers, by the first byte."""
    choice, body = (data[0], data[1:]) if data else (0, b"")
    if choice % 4 == 0:
        read_credentials(body)
    elif choice % 4 == 1:
        read_place(body)
    elif choice % 4 == 2:
        patch, value = object_text(body)
        stamp_of(value)
        msgspec.json.decode(appended_periods(SESSION, patch))
    else:
        words = body[:8000].decode("latin-1")
        if len(candidates(words)) > 4:
            raise AssertionError("a header is worth that many look-ups")
        [segment.encode(errors="surrogatepass") for segment in segments_of(words)]


def ocpi_request_seeds() -> list[bytes]:
    """Credentials, a place, a patch, two headers and a path."""
    role = {"role": "CPO", "party_id": "ABC", "country_code": "DE", "business_details": {"name": "x"}}
    credentials = {"token": "a-token", "url": "https://backend.example/ocpi/versions", "roles": [role]}
    patch = {"last_updated": "2026-11-22T10:00:00Z", "charging_periods": [{"start_date_time": "2026-11-22T11:00:00Z"}]}
    return [
        b"\0" + text(credentials),
        b"\1" + text({"location_id": "LOC1", "evse_uids": ["3256"], "more": 1}),
        b"\2" + text(patch),
        b"\3Token YS10b2tlbg==",
        b"\3token a-token",
        b"\3/ocpi//cpo/2.3.0/locations/DE/ABC/LOC%201/",
    ]


def ocpi_answer(data: bytes) -> None:
    """What a backend answers that the face calls; the HTTP status in the first byte."""
    status = (200, 201, 404, 301, 500)[data[0] % 5] if data else 200
    words = data[1:200].decode("latin-1")
    reply = read_reply(status, data[1:], {"Location": words})
    leads_to_slash("https://backend.example/ocpi/x", reply)
    for told in (read_result(reply), read_info(reply)):
        if not isinstance(told, NoAnswer):
            msgspec.json.encode(msgspec.to_builtins(str(told)))
    _words(reply)


def _words(reply: Reply) -> None:
    told = words_of(reply.data)
    if told is not None and len(told) > 200:
        raise AssertionError("so much is no reason")


def ocpi_answer_seeds() -> list[bytes]:
    """A result, an authorization, texts, no envelope, a redirect."""
    result = {"result": "ACCEPTED", "timeout": 30, "message": [{"language": "en", "text": "x"}]}
    told = (result, {"allowed": "ALLOWED"}, [result])
    envelopes = [{"status_code": 1000, "data": data, "timestamp": "2026-11-22T10:00:00Z"} for data in told]
    return [*(b"\0" + text(each) for each in envelopes), b"\0" + text({"result": "REJECTED"}), b"\3https://[x/"]
