"""The core as seen from a partner without roamd: what is the partner's own there is a peer's here, and we are its peer.

The face was made for our own backend: what it hands in becomes our objects, and what it reads are the partners'. For a
plain OCPI partner every part of the face does the same with the sides exchanged. So the parts stay as they are, and
this stands between them and the core: it makes of "publish an own object" "take over an object of that partner", of
"what does the peer publish" "which of ours may it see", and of "may this driver charge" a question to our own backend.
What has no place in that is refused: a partner reaches nothing of other partners.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from roamd.backend.context import CoreLink
from roamd.errors import Forbidden, NotFound, RoamdError
from roamd.roaming import operations as op
from roamd.roaming.plainocpi import asked

US: Final = "us"
"""Our own label where the partner's peers are listed: we are the only one."""


@dataclass(slots=True)
class SwappedCore:
    """`context.CoreLink` for the parts that serve the partner `peer`."""

    core: CoreLink
    peer: str
    ourselves: Callable[[], op.Partner]
    _rules: dict[type, Callable[[Any], object]] = field(init=False)

    def __post_init__(self) -> None:
        peer = self.peer
        self._rules = {
            op.GetObject: lambda o: op.GetPeerObject(peer, o.feed, o.id, o.party, o.token_type),
            op.PutObject: lambda o: asked.PutTheirs(peer, o.feed, o.checked, o.if_match, o.only_new),
            op.PatchObject: lambda o: asked.PatchTheirs(peer, o.feed, o.id, o.patch, o.party, o.token_type, o.if_match),
            op.PatchEvse: lambda o: asked.PatchTheirs(
                peer, "locations", o.location_id, o.patch, o.party, evse_uid=o.evse_uid
            ),
            op.DeleteObject: lambda o: asked.RemoveTheirs(peer, o.feed, o.id, o.party, o.token_type),
            op.PostRecords: lambda o: asked.TakeRecords(peer, o.records),
            op.ListObjects: lambda o: op.ListPeerObjects(peer, o.feed, o.after, o.limit),
            op.GetPeerObject: lambda o: asked.GetShown(peer, o.feed, o.id, o.party, o.token_type),
            op.ListPeerObjects: lambda o: asked.ListShown(peer, o.feed, o.after, o.limit),
            op.ListRecords: lambda o: op.ListRecords(
                o.after, o.limit, o.state, peer, "out" if o.direction == "in" else "in"
            ),
            op.Authorize: lambda o: asked.AskHome(peer, o.credential.type, o.credential.uid, o.location, o.deadline_ms),
            **dict.fromkeys((op.ListRegistrations, op.KeepRegistration, op.ListQuirks, op.KeepQuirk), lambda o: o),
            **dict.fromkeys((op.NoteListed, op.FindUnlisted, op.ForgetListed), lambda o: o),
        }

    def tell(self, operation: object, reply: Callable[[Any], None]) -> None:
        """As `CoreLink.tell`, by the rules above."""
        if isinstance(operation, op.ListPartners):
            asyncio.get_running_loop().call_soon(reply, [self.ourselves()])
        elif isinstance(operation, op.FindDriver):
            asyncio.get_running_loop().call_soon(reply, None)
        elif isinstance(operation, op.GetRecord):
            self._record(operation, reply)
        elif type(operation) in self._rules:
            self.core.tell(self._rules[type(operation)](operation), reply)
        else:
            error = Forbidden("There is no such thing for a partner.")
            asyncio.get_running_loop().call_soon(reply, error)

    def ask(self, operation: object) -> "asyncio.Future[Any]":
        """As `CoreLink.ask`."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.tell(operation, lambda reply: _resolve(future, reply))
        return future

    async def ask_many(self, operations: Sequence[object]) -> list[Any]:
        """As `CoreLink.ask_many`."""
        replies = await asyncio.gather(*(self.ask(each) for each in operations), return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException) and not isinstance(reply, RoamdError):
                raise reply
        return list(replies)

    def _record(self, operation: op.GetRecord, reply: Callable[[Any], None]) -> None:
        """A record between the two of us, and no other's."""
        direction = "out" if operation.direction == "in" else "in"

        def told(found: Any) -> None:
            if isinstance(found, op.RecordReply) and found.peer != self.peer:
                reply(NotFound("There is no such record.", code="unknown-record"))
            else:
                reply(found)

        self.core.tell(op.GetRecord(operation.record_id, operation.party, direction), told)


def _resolve(future: "asyncio.Future[Any]", reply: Any) -> None:
    if future.done():
        return
    if isinstance(reply, BaseException):
        future.set_exception(reply)
    else:
        future.set_result(reply)
