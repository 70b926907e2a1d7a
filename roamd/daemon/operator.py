"""The operator's desk: the operation `Operate`, by name (see `roaming.operations`)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from roamd.daemon.pairing import PairingDesk, pairing_of
from roamd.daemon.reports import Reports
from roamd.errors import NotFound, OperatorError, RoamdError
from roamd.log import get_logger
from roamd.peering.service import Peering
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.operations import Operate
from roamd.roaming.peerbook import PeerBook
from roamd.roaming.ports import Reply
from roamd.roaming.waiting import write
from roamd.storage import backup, erasure

log = get_logger()

Arguments = dict[str, Any]
Report = Callable[[Arguments], dict[str, Any]]
Act = Callable[[Arguments], Awaitable[dict[str, Any]]]


@dataclass(slots=True)
class OperatorDesk:
    """Handles `Operate`. `start` runs a coroutine in the daemon's nursery; `reload` reads the configuration anew.

    `tell_partners` tells each of those to whom it is introduced.
    """

    reports: Reports
    pairing: PairingDesk
    directory: Directory
    book: PeerBook
    peering: Peering
    database: Path
    reload: Callable[[], Awaitable[dict[str, Any]]]
    start: Callable[..., None]
    tell_partners: Callable[[], None]

    def operate(self, operation: Operate, reply: Reply) -> None:
        """Operate -> dict; NotFound for a name that is none."""
        arguments = operation.arguments
        report = self._reports().get(operation.name)
        if report is not None:
            reply(_reported(report, arguments))
            return
        act = self._acts().get(operation.name)
        if act is None:
            reply(NotFound(f"There is no request {operation.name!r}."))
            return
        self.start(_answer, act, arguments, reply)

    def _reports(self) -> dict[str, Report]:
        return {
            "status": lambda _: self.reports.status(),
            "identity": lambda _: self.reports.identity(),
            "peers": lambda _: self.reports.peers(),
            "peer": lambda a: self.reports.peer(a["peer"]),
            "candidates": lambda _: self.reports.candidates(),
            "queue": lambda _: self.reports.queue(),
            "queue.shape": lambda _: self.reports.shape(),
            "ledger.chains": lambda a: self.reports.chains(a.get("peer")),
            "invites": lambda _: self.pairing.invites(),
            "pairing": lambda a: self.pairing.pairing(a["peer"]),
        }

    def _acts(self) -> dict[str, Act]:
        return {
            "invite": lambda a: self.pairing.invite(
                auto=a.get("auto", False), hours=a.get("hours", 24.0), via=a.get("via")
            ),
            "pair": lambda a: self.pairing.pair(a["line"], a.get("label")),
            "peers.confirm": lambda a: self._of_peer(a, self.book.confirm),
            "peers.suspend": lambda a: self._of_peer(a, self.book.suspend),
            "peers.resume": lambda a: self._of_peer(a, self.book.resume),
            "peers.retry": lambda a: self._of_peer(a, self._retry),
            "peers.remove": self._remove,
            "peers.fields": self._fields,
            "peers.introduce": self._introduce,
            "peers.routes": self._routes,
            "peers.keyed": self._keyed,
            "peers.pseudonyms": self._pseudonyms,
            "reload": lambda _: self.reload(),
            "backup": self._backup,
        }

    async def _of_peer(self, arguments: Arguments, act: Callable[[Peer], Awaitable[None]]) -> dict[str, Any]:
        peer = self.directory.paired(arguments["peer"])
        await act(peer)
        return self.reports.peer(peer.label)

    async def _retry(self, peer: Peer) -> None:
        self.peering.kick(peer)

    async def _remove(self, arguments: Arguments) -> dict[str, Any]:
        peer = self.directory.paired(arguments["peer"])
        await self.book.remove(peer, park=bool(arguments.get("park")))
        return {**pairing_of(peer, confirmed=True), "state": "REMOVED", "link": "DOWN"}

    async def _fields(self, arguments: Arguments) -> dict[str, Any]:
        peer = self.directory.paired(arguments["peer"])
        await self.book.withhold(peer, arguments["feed"], arguments["withhold"])
        return self.reports.peer(peer.label)

    async def _routes(self, arguments: Arguments) -> dict[str, Any]:
        peer = self.directory.get(arguments["peer"])
        await self.book.reroute(peer, arguments["routes"])
        return self.reports.peer(peer.label)

    async def _keyed(self, arguments: Arguments) -> dict[str, Any]:
        peer = self.directory.paired(arguments["peer"])
        await self.book.key_list(peer, keyed=bool(arguments["keyed"]))
        return self.reports.peer(peer.label)

    async def _pseudonyms(self, arguments: Arguments) -> dict[str, Any]:
        peer = self.directory.paired(arguments["peer"])
        await self.book.rename_contracts(peer, pseudonyms=bool(arguments["pseudonyms"]))
        return self.reports.peer(peer.label)

    async def _introduce(self, arguments: Arguments) -> dict[str, Any]:
        peer = self.directory.get(arguments["peer"])
        await self.book.introduce(peer, on=bool(arguments["introduce"]))
        self.tell_partners()
        return self.reports.peer(peer.label)

    async def _backup(self, arguments: Arguments) -> dict[str, Any]:
        target = Path(arguments["path"])
        await self._note_backup(target)
        try:
            size = await trio.to_thread.run_sync(backup.backup, self.database, target)
        except OSError as error:
            raise OperatorError(
                f"{target} cannot be written: {error.strerror or error}. Name a path that the daemon's user may write."
            ) from error
        log.info("backup_made", path=str(target), bytes=size)
        return {"path": str(target), "bytes": size}

    async def _note_backup(self, target: Path) -> None:
        """Before it is there, so that whoever has a driver forgotten is told of every copy that may hold him."""
        path, now_ms = str(await trio.Path(target).absolute()), self.book.clock.now_ms()
        await write(self.book.store, lambda cx: erasure.note_backup_txn(cx, path, now_ms), essential=True)


def _reported(report: Report, arguments: Arguments) -> Any:
    try:
        return report(arguments)
    except (KeyError, TypeError) as error:
        return _misused(error)


def _misused(error: Exception) -> NotFound:
    return NotFound(f"The request lacks or misuses an argument: {error}")


async def _answer(act: Act, arguments: Arguments, reply: Reply) -> None:
    """Act and reply; a refusal is a reply, a fault of ours ends neither the daemon nor the wait of whoever asked."""
    try:
        result = await act(arguments)
    except RoamdError as error:
        reply(error)
    except (KeyError, TypeError, ValueError) as error:
        reply(_misused(error))
    except Exception:  # the edge towards the operator: reported, and the daemon goes on
        log.exception("request_failed")
        reply(RoamdError("The daemon failed at this request; its log says where."))
    else:
        reply(result)
