"""A partner's question about a driver of ours becomes `POST {tokens}/{uid}/authorize` at an eMSP backend."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from urllib.parse import quote

import msgspec

from roamd.backend.context import Api
from roamd.backend.ocpi.asking import Asking
from roamd.backend.ocpi.backends import Backend, Backends
from roamd.backend.ocpi.caller import CONNECTIONS, Caller, Reply
from roamd.backend.ocpi.envelope import UNKNOWN_TOKEN, encode
from roamd.backend.ocpi.face import routing_headers
from roamd.backend.ocpi.uids import turned
from roamd.model.ocpi.convert import value_in
from roamd.roaming.ports import AuthorizeQuestion, BackendAnswer, NoAnswer, Question, Told

AT_ONCE: Final = CONNECTIONS // 2
"""So that commands find a connection as well."""

_NOTHING: Final = msgspec.Raw(b"")


class _InfoIn(msgspec.Struct):
    allowed: str
    authorization_reference: str | None = None
    location: msgspec.Raw = _NOTHING
    info: msgspec.Raw = _NOTHING


_decode: Final = msgspec.json.Decoder(_InfoIn).decode


@dataclass(slots=True)
class CardQuestions:
    """Takes questions for the first registered backend that serves tokens as SENDER."""

    api: Api
    backends: Backends
    callers: Mapping[str, Caller]
    _asking: Asking = field(default_factory=partial(Asking, AT_ONCE))

    def takes(self, question: Question) -> bool:
        """Authorizations, while there is such a backend."""
        return isinstance(question, AuthorizeQuestion) and self._backend() is not None

    def take_question(self, question: Question, done: Told) -> None:
        """Ask; `done` is called once, by the deadline."""
        backend = self._backend()
        if backend is None or not isinstance(question, AuthorizeQuestion):
            done(NoAnswer("not configured", asked=False))
        else:
            caller, to = self.callers[backend.settings.name], min(self.api.own_parties)
            self._asking.begin(question, partial(ask_card, backend, caller, question, to), done)

    async def aclose(self) -> None:
        """Give up what is open; its askers get NoAnswer."""
        await self._asking.aclose()

    def _backend(self) -> Backend | None:
        return next((backend for backend in self.backends if backend.endpoint("tokens", "SENDER")), None)


async def ask_card(backend: Backend, caller: Caller, question: AuthorizeQuestion, to: str) -> BackendAnswer | NoAnswer:
    """`POST {tokens}/{uid}/authorize`, addressed to the party `to`. Raises CallFailed."""
    uid, kind = question.credential.get("uid") or "", question.credential.get("type") or "RFID"
    uid = turned(backend.settings, kind, uid)
    kept = backend.registration
    kind = value_in("TokenType", kind, kept.version) if kept is not None else kind
    url = f"{backend.endpoint('tokens', 'SENDER')}/{quote(uid, safe='')}/authorize?type={quote(kind)}"
    reply = await caller.call(
        "POST",
        url,
        _place(question),
        routing=routing_headers(to, question.party),
        timeout_s=question.deadline_ms / 1000,
        question=True,
    )
    if reply.data.startswith(b"["):
        backend.met("array-of-one")
    return read_info(reply)


def _place(question: AuthorizeQuestion) -> bytes | None:
    """LocationReferences, where the place is known."""
    location = question.location or {}
    if not location.get("location_id"):
        return None
    evse = location.get("evse_uid")
    return encode({"location_id": location["location_id"], **({"evse_uids": [evse]} if evse else {})})


def read_info(reply: Reply) -> BackendAnswer | NoAnswer:
    """AuthorizationInfo as a decision. An unknown token comes as 404, as status 2004, or as both."""
    if reply.status == 404 or reply.code == UNKNOWN_TOKEN:
        return BackendAnswer("UNKNOWN")
    if not reply.good:
        return NoAnswer(reply.words)
    try:
        info = _decode(reply.one())
    except (msgspec.DecodeError, RecursionError):
        return NoAnswer("unreadable answer")
    return BackendAnswer(
        info.allowed.strip().upper(),
        authorization_reference=info.authorization_reference,
        location=_raw(info.location),
        info=_raw(info.info),
    )


def _raw(raw: msgspec.Raw) -> msgspec.Raw | None:
    return None if bytes(raw) in (b"", b"null") else raw.copy()
