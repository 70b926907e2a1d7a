"""CDRs that the backend posts: committed to the ledger before it is answered, and read back at their Location."""

from dataclasses import dataclass
from urllib.parse import quote

from roamd.backend.context import Api
from roamd.backend.ocpi.asked import Asked
from roamd.backend.ocpi.envelope import Answer, not_allowed, not_found
from roamd.backend.ocpi.lenient import Lenient
from roamd.backend.ocpi.offered import shown_record
from roamd.backend.ocpi.uids import with_turned
from roamd.model.ids.party import party_of
from roamd.roaming.operations import GetRecord, PostRecords, RecordReply


@dataclass(slots=True)
class PostedCdrs:
    """The RECEIVER interface of cdrs."""

    api: Api

    async def handle(self, asked: Asked) -> Answer:
        """POST, and GET of what was posted."""
        if not asked.path and asked.method == "POST":
            return await self._post(asked)
        if asked.method not in ("GET", "HEAD"):
            raise not_allowed("cdrs takes POST at its address, and GET at the Location that a POST was answered with.")
        if len(asked.path) != 3:
            raise not_found("There is no such CDR.")
        country, party_id, id_ = asked.path
        party = party_of(country.upper(), party_id.upper())
        if party is None:
            raise not_found("There is no such CDR.")
        return shown_record(asked, await self.api.core.ask(GetRecord(id_, party, "out")))

    async def _post(self, asked: Asked) -> Answer:
        backend, to = asked.presented.backend, asked.party("to")
        addressee = None if to in self.api.own_parties else to
        data = with_turned(backend.settings, asked.module, await asked.body())
        record = await Lenient(self.api).record(backend, asked.version, data, addressee)
        replies: list[RecordReply] = await self.api.core.ask(PostRecords((record,)))
        reply = replies[0]
        where = f"{asked.endpoint}/{record.party[:2]}/{record.party[2:]}/{quote(record.id, safe='')}"
        told = f"PARKED: {reply.reason}" if reply.state == "PARKED" else None
        return Answer(status=201, message=told, headers={"Location": where})
