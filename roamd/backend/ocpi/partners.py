"""The partners as the backend sees them: parties of one platform, which is roamd (OCPI's hub)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from roamd.backend.context import Api
from roamd.backend.ocpi.envelope import NOT_CONNECTED, UNKNOWN_RECEIVER, Refusal
from roamd.clock import rfc3339
from roamd.roaming.operations import ListPartners, ListPeerObjects, Page, Partner

ROLES: Final = {"cso": "CPO", "csp": "EMSP"}
RECENT_S: Final = 1.0
"""How old the list of partners may be on the way of every authorization."""

FACE_ROLE: Final = {"cpo": "CPO", "emsp": "EMSP"}


def role_names(partner: Partner) -> list[str]:
    """Its roles in OCPI's words."""
    return [ROLES[role] for role in partner.roles if role in ROLES]


def status_of(partner: Partner) -> str:
    """OCPI's ConnectionStatus."""
    if partner.state == "SUSPENDED":
        return "SUSPENDED"
    if partner.state != "PAIRED":
        return "PLANNED"
    return "CONNECTED" if partner.connected else "OFFLINE"


@dataclass(slots=True)
class Partners:
    """Asks the core who there is; remembers since when each one's status is what it is."""

    api: Api
    _since: dict[str, tuple[str, int]] = field(default_factory=dict)
    _lists: dict[tuple[str, str], tuple[float, bool]] = field(default_factory=dict)
    _recent: tuple[float, list[Partner]] = (-RECENT_S, [])

    async def all(self) -> list[Partner]:
        """Every paired endpoint."""
        partners: list[Partner] = await self.api.core.ask(ListPartners())
        return partners

    async def recent(self) -> list[Partner]:
        """Who there was a moment ago: for their names, not for whether they are connected."""
        now = self.api.clock.monotonic()
        if now - self._recent[0] >= RECENT_S:
            self._recent = (now, await self.all())
        return self._recent[1]

    async def was_connected(self, to: str) -> bool:
        """Whether this party's endpoint was connected a moment ago."""
        return any(partner.connected for partner in await self.recent() if to in partner.parties)

    async def lists(self, peer: str, feed: str) -> bool:
        """Whether a partner published anything in a feed a moment ago; many have no list of cards at all."""
        now = self.api.clock.monotonic()
        known = self._lists.get((peer, feed))
        if known is None or now - known[0] >= RECENT_S:
            page: Page = await self.api.core.ask(ListPeerObjects(peer, feed, None, 1))
            known = self._lists[peer, feed] = (now, bool(page.items))
        return known[1]

    def is_platform(self, to: str | None) -> bool:
        """Whether a request for this party is for no partner in particular."""
        return to is None or to in self.api.own_parties

    async def addressed(self, to: str | None, *, live: bool = False) -> list[Partner]:
        """Whom a request is for: the partner of the party that it names, else all.

        Our own party, and none, mean the platform. Refusal when there is no such party, or when it must be there
        (`live`) and is not.
        """
        partners = await self.all()
        if to is None or self.is_platform(to):
            return partners
        found = [partner for partner in partners if to in partner.parties]
        if not found:
            raise Refusal(404, UNKNOWN_RECEIVER, f"OCPI-to: there is no party {to[:2]}*{to[2:]} here.")
        if live and not any(partner.connected for partner in found):
            raise Refusal(200, NOT_CONNECTED, f"OCPI-to: {to[:2]}*{to[2:]} is not connected now.")
        return found

    async def client_infos(self) -> list[dict[str, Any]]:
        """hubclientinfo: every party in each of its roles, with its status of this moment."""
        return [info for partner in await self.all() for info in self.infos_of(partner)]

    def infos_of(self, partner: Partner) -> list[dict[str, Any]]:
        """The ClientInfo objects of one partner."""
        status, stamp = status_of(partner), rfc3339(self._since_ms(partner))
        return [
            {"country_code": party[:2], "party_id": party[2:], "role": role, "status": status, "last_updated": stamp}
            for party in partner.parties
            for role in role_names(partner)
        ]

    def _since_ms(self, partner: Partner) -> int:
        status = status_of(partner)
        known = self._since.get(partner.peer)
        if known is None:
            known = self._since[partner.peer] = (status, partner.since_ms)
        elif known[0] != status:
            known = self._since[partner.peer] = (status, self.api.clock.now_ms())
        return known[1]


def credentials_roles(
    partners: Iterable[Partner], own: str, company: str, version: str, face: str
) -> list[dict[str, Any]]:
    """What we are to the backend.

    2.2.1: the one hub. 2.3.0, and a face of one role: every party that is reached through it.
    """
    if version == "2.2.1" and not face:
        return [_role("HUB", own, company)]
    wanted = FACE_ROLE.get(face)
    found = [
        _role(role, party, partner.name)
        for partner in partners
        for party in partner.parties
        for role in role_names(partner)
        if wanted in (None, role)
    ]
    return found or [_role(wanted or "OTHER", own, company)]


def _role(role: str, party: str, name: str) -> dict[str, Any]:
    return {"role": role, "country_code": party[:2], "party_id": party[2:], "business_details": {"name": name[:100]}}
