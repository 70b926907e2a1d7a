"""`roamd ocpi test NAME`: every way to a backend is tried once, and what is wrong is told in plain words.

Nothing is changed at the backend: lists are fetched with a limit of one, single objects are asked for that nobody has,
and the authorization is for a card that nobody has. A step that cannot be tried because one before it failed is left
out of the report.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from roamd.backend.context import Api
from roamd.backend.ocpi.backends import Backend, Endpoint, Registration
from roamd.backend.ocpi.caller import Access, Caller, CallFailed, Reply
from roamd.backend.ocpi.credentials import read_endpoints
from roamd.backend.ocpi.envelope import UNKNOWN_TOKEN, Refusal
from roamd.backend.ocpi.face import routing_headers
from roamd.backend.ocpi.mend import Mending, mend
from roamd.backend.ocpi.partners import Partners
from roamd.backend.ocpi.pull import SESSIONS_MS, items_of
from roamd.backend.ocpi.views import KINDS
from roamd.clock import rfc3339
from roamd.errors import Fault, RoamdError
from roamd.model.jsontext import compact, parse
from roamd.model.ocpi.check import check

TIMEOUT_S: Final = 10.0
NOBODY: Final = "ROAMD-SELF-TEST"
"""The id of an object and a card that nobody has; 36 characters are allowed."""

FAULTS_TOLD: Final = 3
LISTED: Final = ("locations", "tariffs", "tokens", "sessions", "cdrs")
HELD: Final = ("locations", "tariffs", "tokens", "sessions")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried. `todo` says what to do where it failed, or is worth a look."""

    step: str
    ok: bool
    what: str
    todo: str = ""
    ms: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        shown = {"step": self.step, "ok": self.ok, "what": self.what, "todo": self.todo, "ms": round(self.ms, 1)}
        return {name: value for name, value in shown.items() if value != ""}


class _Wrong(Exception):
    def __init__(self, what: str, todo: str) -> None:
        super().__init__(what)
        self.what = what
        self.todo = todo


@dataclass(slots=True)
class SelfTest:
    """One run against one backend."""

    api: Api
    backend: Backend
    caller: Caller
    partners: Partners
    now_s: Callable[[], float] = time.perf_counter
    _steps: list[Step] = field(default_factory=list)

    async def run(self) -> list[Step]:
        """Every step that could be tried, in order."""
        kept = self.backend.registration
        if kept is None:
            self._steps.append(self._unregistered())
            return self._steps
        said = f"registered with OCPI {kept.version}, and names {len(kept.endpoints)} endpoints"
        self._steps.append(Step("registration", True, said))
        if await self._try("versions", self._versions(kept)):
            await self._try("credentials", self._credentials(kept))
            for module in LISTED:
                if self.backend.endpoint(module, "SENDER"):
                    await self._try(f"{module} (sender)", self._list(module, kept))
            for module in HELD:
                if self.backend.endpoint(module, "RECEIVER"):
                    await self._try(f"{module} (receiver)", self._held(module))
            if self.backend.endpoint("cdrs", "RECEIVER"):
                untried = "an address is named; it cannot be tried without leaving a CDR there"
                self._steps.append(Step("cdrs (receiver)", True, untried))
            if self.backend.endpoint("tokens", "SENDER"):
                await self._try("authorize", self._authorize())
        return self._steps

    def _unregistered(self) -> Step:
        base = self.backend.settings.url or "http://<where the API listens>/ocpi"
        todo = f"Enter {base}/versions and the token of [[ocpi]] in the backend and let it register."
        if not self.backend.settings.handshake:
            todo = "With handshake = false it is never called, so there is nothing to test; it pushes and fetches."
        why = f"; its last try failed: {self.backend.refused}" if self.backend.refused else ""
        return Step("registration", not self.backend.settings.handshake, f"the backend has not registered{why}", todo)

    async def _try(self, name: str, doing: Any) -> bool:
        began = self.now_s()
        try:
            what, ok, todo = await doing, True, ""
        except _Wrong as wrong:
            what, ok, todo = wrong.what, False, wrong.todo
        except CallFailed as failed:
            what, ok, todo = _unreached(str(failed), self.backend)
        except RoamdError as error:
            what, ok, todo = str(error), False, "Mend what is named there, and have it register again (PUT)."
        self._steps.append(Step(name, ok, what, todo, (self.now_s() - began) * 1000))
        return ok

    # --- steps ---

    async def _versions(self, kept: Registration) -> str:
        access = Access(kept.their_token, kept.form)
        try:
            now = await read_endpoints(self.caller, kept.their_url, kept.version, access)
        except Refusal as refusal:
            raise _Wrong(_without_path(refusal), _todo_of(refusal)) from refusal
        if set(now) != set(kept.endpoints):
            raise _Wrong(
                f"its endpoints are others now: {_names(set(now) ^ set(kept.endpoints))}",
                "Have the backend update its credentials (PUT), so that they are read again.",
            )
        return f"versions and details are readable; {_names(now)}"

    async def _credentials(self, kept: Registration) -> str:
        named = (self.backend.whole_endpoint("credentials", role) for role in ("SENDER", "RECEIVER"))
        where = next((url for url in named if url is not None), None)
        if where is None:
            return "no address is named for credentials; nothing to read"
        reply = await self._call("GET", where)
        if reply.status in (404, 405):
            return f"it does not show its credentials ({reply.words})"
        self._need(reply)
        roles = _object(reply).get("roles")
        found = [_party(role) for role in roles if isinstance(role, dict)] if isinstance(roles, list) else []
        return f"readable; it speaks for {', '.join(found) or 'nobody that it names'}"

    async def _list(self, module: str, kept: Registration) -> str:
        asked: dict[str, Any] = {"offset": 0, "limit": 1}
        if module == "sessions":
            asked = {"date_from": rfc3339(self.api.clock.now_ms() - SESSIONS_MS), **asked}
        reply = await self._call("GET", f"{self.backend.whole_endpoint(module, 'SENDER')}?{urlencode(asked)}")
        self._need(reply)
        page = items_of(reply)
        if len(page) > 1:
            self.backend.met("limit-ignored")
        total = reply.headers.get("X-Total-Count")
        said = f"{total or 'an unknown number'} listed"
        if page:
            return f"{said}, {self._judge(module, page[0], kept.version)}"
        return f"{said}, none shown"

    def _judge(self, module: str, text: bytes, version: str) -> str:
        faults = _faults(module, text, version)
        if not faults:
            return "the first is good"
        mended = (
            text if self.backend.settings.strict else mend(KINDS[module], compact(text), Mending(version, fill=True))
        )
        if _faults(module, mended, version):
            told = "; ".join(f"{each.path}: {each.message}" for each in faults[:FAULTS_TOLD])
            raise _Wrong(
                f"the first object is not what OCPI {version} says: {told}",
                "It cannot be taken like this; tell whoever makes the backend the places that are named.",
            )
        places = ", ".join(each.path for each in faults[:FAULTS_TOLD])
        return f"the first is put right where it comes in, at {places}"

    async def _held(self, module: str) -> str:
        party = await self._partner()
        where = f"/{party[:2]}/{party[2:]}/{NOBODY}"
        reply = await self._call("GET", f"{self.backend.endpoint(module, 'RECEIVER')}{where}", routed=party)
        if reply.status == 404 or (reply.code or 0) // 1000 == 2:
            return "reachable; it says rightly that it has no such object"
        if reply.status >= 500:
            return f"reachable; it fails ({reply.words}) at an object that it does not have, where 404 would be right"
        if reply.status == 405:
            return "reachable; it shows nothing of what it was given"
        self._need(reply)
        return "reachable"

    async def _authorize(self) -> str:
        party = await self._partner()
        url = f"{self.backend.endpoint('tokens', 'SENDER')}/{quote(NOBODY)}/authorize?type=RFID"
        reply = await self._call("POST", url, routed=party)
        if reply.status == 404 or reply.code == UNKNOWN_TOKEN:
            return "answered: it does not know a card that nobody has"
        if reply.code == 2002:
            return "answered: it wants to be told the place"
        self._need(reply)
        allowed = _object(reply).get("allowed")
        if allowed == "ALLOWED":
            raise _Wrong(
                f"it allows {NOBODY}, a card that nobody has",
                "Whoever asks may charge at its cost: look at its rules for unknown tokens.",
            )
        return f"answered: {allowed if isinstance(allowed, str) else 'nothing that can be read'}"

    # --- calls ---

    async def _call(self, method: str, url: str, body: bytes | None = None, *, routed: str = "") -> Reply:
        routing = routing_headers(min(self.api.own_parties), routed) if routed else None
        return await self.caller.call(method, url, body, routing=routing, timeout_s=TIMEOUT_S, question=True)

    async def _partner(self) -> str:
        """A partner's party to ask in the name of; our own while there is none."""
        partners = await self.partners.all()
        return next((party for partner in partners for party in partner.parties), min(self.api.own_parties))

    def _need(self, reply: Reply) -> None:
        if not reply.good:
            raise _Wrong(f"it answered {reply.words}", _todo_for(reply))


def _faults(module: str, text: bytes, version: str) -> list[Fault]:
    return check(KINDS[module], version, parse(compact(text)).value).faults


def _unreached(words: str, backend: Backend) -> tuple[str, bool, str]:
    if words == "late":
        todo = "Look whether the backend hangs, or a firewall drops packets."
        return f"no answer within {TIMEOUT_S:.0f} s", False, todo
    mend = "base_url" if not backend.settings.base_url else "base_url, which is set,"
    todo = (
        f"Look whether it runs and can be reached from this machine. If its addresses are wrong, {mend} of [[ocpi]] "
        "puts scheme and host right; private addresses need private = true."
    )
    return f"it could not be reached ({words})", False, todo


def _todo_for(reply: Reply) -> str:
    if reply.status == 401:
        return "It does not know our token any more: have it register again (PUT, or a new first token and POST)."
    if reply.status == 403:
        return "It knows the token and forbids this; look at its rights for roamd."
    if reply.status == 404:
        return "The address that it names leads nowhere; compare its version details with what it serves."
    if 300 <= reply.status < 400:
        return "Redirects are not followed, for they would take the token along; have it name the final address."
    if reply.status >= 500 or (reply.code or 0) // 1000 == 3:
        return "The backend failed at it; its own log says why."
    return "Ask whoever makes the backend; the request is what OCPI's text says."


def _todo_of(refusal: Refusal) -> str:
    words = str(refusal)
    if "401" in words:
        return "It does not know our token any more: have it register again (PUT, or a new first token and POST)."
    if refusal.ocpi_status == 3002:
        return "It registered with a version that it no longer offers: have it register again."
    if refusal.ocpi_status == 3003:
        return "Its version details name no endpoints; look at its configuration."
    return "Look whether it runs, and whether its versions address is the right one (base_url of [[ocpi]] mends hosts)."


def _without_path(refusal: Refusal) -> str:
    return str(refusal).removeprefix("$.url: ").rstrip(".").replace("your", "its")


def _object(reply: Reply) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(reply.one())
    except (msgspec.DecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _Wrong("its answer holds no object", "Ask whoever makes the backend; data must be one object.")
    return value


def _party(role: dict[str, Any]) -> str:
    words = (role.get("role"), role.get("country_code"), role.get("party_id"))
    kind, country, party = (word if isinstance(word, str) else "?" for word in words)
    return f"{country}*{party} as {kind}"


def _names(endpoints: Iterable[Endpoint]) -> str:
    return ", ".join(sorted({f"{each.identifier} {each.role}" for each in endpoints}))
