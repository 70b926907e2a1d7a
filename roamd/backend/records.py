"""`/v1/records`: service records in and out."""

from base64 import b64encode
from typing import Final

import msgspec
from aiohttp import web

from roamd.backend.context import Api
from roamd.backend.examples import SERVICE_RECORD
from roamd.backend.idempotency import idempotency_of
from roamd.backend.problems import MAX_FAULTS
from roamd.backend.requests import (
    checked_peer,
    decode_strictly,
    direction_parameter,
    encode,
    is_array,
    json_answer,
    ocpi_version,
    page_after,
    page_limit,
    page_text,
    party_parameter,
    peer_parameter,
    split_array,
    value_answer,
    warning_values,
)
from roamd.backend.routes import (
    AFTER,
    DIRECTION,
    IDEMPOTENCY_KEY,
    LIMIT,
    OCPI_VERSION,
    PARTY,
    PEER,
    Answer,
    Body,
    Parameter,
    Route,
)
from roamd.errors import Fault, Malformed
from roamd.model.objects import CheckedRecord, check_record
from roamd.roaming.operations import (
    DropRecord,
    ExportEvidence,
    GetRecord,
    ListRecords,
    Page,
    PostRecords,
    RecordReply,
    RetryRecord,
)

FORMS: Final = ("files", "bundle")
STATES: Final = ("QUEUED", "DELIVERED", "ACCEPTED", "DISPUTED", "CREDITED", "FINAL", "PARKED")


_FORM: Final = Parameter(
    "form",
    "`bundle`: one file for scripts/verify-evidence, with what both sides said of the record since.",
    {"type": "string", "enum": [*FORMS], "default": "files"},
)


class _RerouteIn(msgspec.Struct, frozen=True):
    peer: str


def parse_records(data: bytes, ocpi: str, own_parties: frozenset[str]) -> list[CheckedRecord]:
    """An array's records; one malformed element refuses the whole, with every fault of all."""
    checked: list[CheckedRecord] = []
    faults: list[Fault] = []
    for place, element in enumerate(split_array(data)):
        try:
            checked.append(check_record(ocpi, element, own_parties=own_parties, at=f"$[{place}]"))
        except Malformed as error:
            faults += error.faults
            if len(faults) >= MAX_FAULTS:
                break
    if faults:
        raise Malformed(tuple(faults))
    return checked


def with_warnings(reply: RecordReply, record: CheckedRecord) -> RecordReply:
    """The reply, telling what the record's check only warned about."""
    if not record.warnings:
        return reply
    return msgspec.structs.replace(reply, warnings=warning_values(record.warnings))


class Records:
    """The handlers and their routes."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def post(self, request: web.Request) -> web.Response:
        """Hand in one record or an array."""
        data, ocpi, own = await request.read(), ocpi_version(request), self._api.own_parties
        many = is_array(data)
        records = parse_records(data, ocpi, own) if many else [check_record(ocpi, data, own_parties=own)]
        peer = peer_parameter(request)
        if not records:
            return value_answer([], 202)
        replies = await self._api.core.ask(PostRecords(tuple(records), peer, idempotency_of(request, data)))
        told = [with_warnings(reply, record) for reply, record in zip(replies, records, strict=True)]
        return value_answer(told if many else told[0], 202)

    async def page(self, request: web.Request) -> web.Response:
        """A page of records."""
        state = request.query.get("state") or None
        if state is not None and state not in STATES:
            raise Malformed((Fault("state", f"must be one of {', '.join(STATES)}", "parameter"),))
        asked = ListRecords(
            page_after(request), page_limit(request), state, peer_parameter(request), direction_parameter(request)
        )
        page: Page = await self._api.core.ask(asked)
        return json_answer(page_text(map(encode, page.items), page.next))

    async def get(self, request: web.Request) -> web.Response:
        """One record, its body and the outline of its evidence."""
        asked = GetRecord(request.match_info["id"], party_parameter(request), direction_parameter(request))
        return value_answer(await self._api.core.ask(asked))

    async def evidence(self, request: web.Request) -> web.Response:
        """All that proves one record, as files, or as the one file itself."""
        form = request.query.get("form") or "files"
        if form not in FORMS:
            raise Malformed((Fault("form", f"must be one of {', '.join(FORMS)}", "parameter"),))
        bundle = form == "bundle"
        files = await self._api.core.ask(ExportEvidence(request.match_info["id"], party_parameter(request), bundle))
        if bundle:
            return json_answer(files["evidence.json"])
        return value_answer({"files": {name: b64encode(content).decode() for name, content in files.items()}})

    async def retry(self, request: web.Request) -> web.Response:
        """Try a parked record again."""
        return value_answer(await self._api.core.ask(RetryRecord(request.match_info["id"], party_parameter(request))))

    async def reroute(self, request: web.Request) -> web.Response:
        """Try a parked record again, to the peer that the body names."""
        peer = checked_peer(decode_strictly(await request.read(), _RerouteIn).peer)
        asked = RetryRecord(request.match_info["id"], party_parameter(request), peer)
        return value_answer(await self._api.core.ask(asked))

    async def drop(self, request: web.Request) -> web.Response:
        """Give up a parked record that has no place in a chain."""
        return value_answer(await self._api.core.ask(DropRecord(request.match_info["id"], party_parameter(request))))

    def routes(self) -> list[Route]:
        """The table's rows."""
        one = {"id": SERVICE_RECORD["id"]}
        reply = Answer(200, "Where the record stands.", "Record")
        state = Parameter("state", "Only records in this state.", {"type": "string", "enum": [*STATES]})
        return [
            Route(
                "POST",
                "/v1/records",
                self.post,
                "records",
                "Hand in a CDR or SDR, or an array of up to 1,000; committed before the answer.",
                (Answer(202, "Where each record stands.", "Record"),),
                Body("ServiceRecord", SERVICE_RECORD),
                (PEER, OCPI_VERSION, IDEMPOTENCY_KEY),
            ),
            Route(
                "GET",
                "/v1/records",
                self.page,
                "records",
                "Records handed in and received, oldest first.",
                (Answer(200, "A page.", "RecordPage"),),
                parameters=(AFTER, LIMIT, state, PEER, DIRECTION),
            ),
            Route(
                "GET",
                "/v1/records/{id}",
                self.get,
                "records",
                "One record with its body, items and evidence.",
                (reply,),
                parameters=(PARTY, DIRECTION),
                example=one,
            ),
            Route(
                "GET",
                "/v1/records/{id}/evidence",
                self.evidence,
                "records",
                "Everything that proves one record, as base64 files that openssl can check, or as one file.",
                (Answer(200, "The files; or the one file itself, to be kept byte for byte.", "Evidence"),),
                parameters=(PARTY, _FORM),
                example=one,
            ),
            Route(
                "POST",
                "/v1/records/{id}/retry",
                self.retry,
                "records",
                "Try a PARKED record again.",
                (reply,),
                parameters=(PARTY, IDEMPOTENCY_KEY),
                example={"id": "PARKED-1"},
                remembered=True,
            ),
            Route(
                "POST",
                "/v1/records/{id}/reroute",
                self.reroute,
                "records",
                "Try a PARKED record again, to another peer.",
                (reply,),
                Body("Reroute", {"peer": "xyz"}),
                (PARTY, IDEMPOTENCY_KEY),
                {"id": "PARKED-2"},
                remembered=True,
            ),
            Route(
                "POST",
                "/v1/records/{id}/drop",
                self.drop,
                "records",
                "Give up a PARKED record that has no place in a chain.",
                (Answer(200, "The record as it was.", "Record"),),
                parameters=(PARTY, IDEMPOTENCY_KEY),
                example={"id": "PARKED-3"},
                remembered=True,
            ),
        ]
