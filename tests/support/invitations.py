"""Invitations kept in memory, and a clock that is moved by hand."""

from dataclasses import dataclass, field, replace

import trio

from roamd.errors import Conflict, StoreFull
from roamd.peering.pairing_server import OpenInvitation
from roamd.trust.invitation import Invitation
from roamd.trust.pairing import Joined


@dataclass
class HandClock:
    """Stands still unless told."""

    at_ms: int
    passed_s: float = 0.0

    def monotonic(self) -> float:
        return self.passed_s

    def now_ms(self) -> int:
        return self.at_ms


@dataclass
class MemoryInvitations:
    """Keeps the promises of `Invitations`.

    `confirmed` is what the operator said. `full` makes every commit fail; `crashing` loses the answer after a commit;
    `found` is set when someone asks, and then waits for `go_on`, if there is one.
    """

    confirmed: bool = False
    full: bool = False
    crashing: bool = False
    found: trio.Event = field(default_factory=trio.Event)
    go_on: trio.Event | None = None
    rows: dict[bytes, OpenInvitation] = field(default_factory=dict)
    tries: list[bytes] = field(default_factory=list)
    committed: list[tuple[Joined, tuple[str, ...]]] = field(default_factory=list)

    def add(self, invitation: Invitation) -> None:
        self.rows[invitation.id] = OpenInvitation(invitation.id, invitation.secret, invitation.expires_ms)

    async def find(self, invitation_id: bytes) -> OpenInvitation | None:
        self.found.set()
        if self.go_on is not None:
            await self.go_on.wait()
        return self.rows.get(invitation_id)

    async def record_try(self, invitation_id: bytes) -> None:
        self.tries.append(invitation_id)

    async def complete(self, invitation_id: bytes, joined: Joined, words: tuple[str, ...]) -> bool:
        if self.full:
            raise StoreFull("The disk is full.")
        row = self.rows[invitation_id]
        joiner_id = joined.descriptor.endpoint_id
        if row.used_by not in (None, joiner_id):
            raise Conflict("used by another")
        if row.used_by is None:
            self.rows[invitation_id] = replace(row, used_by=joiner_id)
            self.committed.append((joined, words))
        if self.crashing:
            raise trio.BrokenResourceError("the machine is gone")
        return self.confirmed
