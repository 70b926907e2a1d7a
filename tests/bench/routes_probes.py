"""How long a driver waits when one route hangs: the visited side with real timers and a real disk, its partners staged.

Two CSPs with links that answer within 2 to 8 ms; who hangs never answers. Drivers come 200 a second and do not wait for
each other. The budget is the request's deadline of 3 s; the patience is the configuration's usual one.
"""

import itertools
import os
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from roamd import log
from roamd.clock import SystemClock
from roamd.model.agreement import preset
from roamd.model.body import compact
from roamd.model.grants import grant_document, sealed
from roamd.model.keys import ObjectKey
from roamd.protocol.bulk import FeedItem
from roamd.protocol.calls import AuthorizeAnswer
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.authorization.report import DecisionReport
from roamd.roaming.authorization.visited import VisitedAuthorization
from roamd.roaming.calls import OutgoingCalls
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.decisions import DecisionJournal
from roamd.roaming.directory import PAIRED, Directory, Peer
from roamd.roaming.grants import VisitedGrants
from roamd.roaming.operations import AuthorizationReply, Authorize, CredentialIn, PlaceIn
from roamd.storage import feeds
from roamd.storage.peers import PeerRow
from roamd.storage.store import Cx, Store, deliver_here
from roamd.trust.identity import Identity
from roamd.trust.signing import verify
from tests.bench.load import Measured, measured
from tests.bench.machine import cpu_s
from tests.bench.probes import probe
from tests.bench.stage import Stage

PER_S = 200
UID = "04E2A1B2C3D480"
HERE = PlaceIn("LOC1", "E1")


class Partner:
    """A CSP behind a link (all that is used of an exchange); its answers are late, or never come."""

    def __init__(self, peer: Peer, deadlines: Deadlines, calls: OutgoingCalls, rng: random.Random) -> None:
        self.peer, self._deadlines, self._calls, self._random = peer, deadlines, calls, rng
        self.is_up, self.hangs, self.knows = True, False, False
        peer.exchange = self  # type: ignore[assignment]

    def send_call(self, call: Call) -> None:
        """Answer it in its time."""
        if not self.hangs:
            body = AuthorizeAnswer("ALLOWED" if self.knows else "UNKNOWN", "", "BACKEND").pack()
            answer = Answer(call.id, AnswerStatus.ANSWERED, body)
            self._deadlines.after(self._random.uniform(0.002, 0.008), lambda: self._calls.on_answer(self.peer, answer))

    def send_cancel(self, call_id: bytes) -> None:
        """Nobody waits any more."""


class Station:
    """The visited side over a store on the disk."""

    def __init__(self, room: Path, token: trio.lowlevel.TrioToken) -> None:
        clock, rng = SystemClock(), random.Random("routes")  # noqa: S311 - the same in every run
        self.home = Identity.create(clock.now_ms())
        self.store = Store.open(
            room / "roamd.db", deliver=lambda outcomes: token.run_sync_soon(deliver_here, outcomes), ballast_bytes=0
        )
        self.directory = Directory()
        self.deadlines = Deadlines(clock)
        calls = OutgoingCalls(clock, self.deadlines)
        journal = DecisionJournal(self.store, self.deadlines)
        self.grants = VisitedGrants(clock, self.store, self.directory, verify, ("DEABC",))
        self.visited = VisitedAuthorization(
            clock, self.store, self.directory, calls, self.deadlines, DecisionReport(clock, journal), os.urandom,
            "DEABC", grants=self.grants,
        )  # fmt: skip
        rows = [_row("rmd", "FRRMD", self.home), _row("tnm", "NLTNM", Identity.create(clock.now_ms()))]
        self.rmd, self.tnm = (Partner(self.directory.put(row), self.deadlines, calls, rng) for row in rows)
        self.rmd.knows = True

    def mirror(self, feed: str, id_: str, sub: str, body: bytes) -> None:
        """The home-CSP has published an object."""
        item = FeedItem("FRRMD", id_, sub, "2.3.0", body)

        def txn(cx: Cx) -> None:
            key = ObjectKey("FRRMD", id_, sub)
            feeds.mirror_put_txn(cx, "rmd", feed, key, ocpi="2.3.0", body=body, generation=0)
            if feed == "grants":
                self.grants.taken_txn(cx, "rmd", item, 0)

        self.store.write(txn)


def _row(label: str, party: str, identity: Identity) -> PeerRow:
    agreement = preset(("cso",), ("csp",), (party,)).to_json()
    return PeerRow(
        label, identity.endpoint_id, identity.certificate_der, label, (party,), PAIRED, None, b"", 1, agreement, 1, "",
        0, False,
    )  # fmt: skip


def _listed(station: Station) -> None:
    station.mirror("user-credentials", UID, "RFID", _token("ALLOWED_OFFLINE"))
    station.rmd.hangs = True


def _granted(station: Station) -> None:
    text = compact(
        f'{{"country_code":"FR","party_id":"RMD","id":"G-1","type":"RFID","uid":"{UID}",'
        f'"valid_until":"{_day(2)}","last_updated":"{_day(0)}"}}'.encode()
    )
    signature = station.home.sign(grant_document(station.home.endpoint_id, text))
    station.mirror("grants", "G-1", "", sealed(text, signature))
    station.rmd.hangs = True


def _nothing_hangs(station: Station) -> None:
    """Both answer."""


def _another_hangs(station: Station) -> None:
    station.tnm.hangs = True


def _cut(station: Station) -> None:
    _granted(station)
    for partner in (station.rmd, station.tnm):
        partner.peer.exchange = None


def _token(whitelist: str) -> bytes:
    return compact(
        f'{{"country_code":"FR","party_id":"RMD","uid":"{UID}","type":"RFID","contract_id":"FR-RMD-C00000042-X",'
        f'"issuer":"RMD","valid":true,"whitelist":"{whitelist}","last_updated":"{_day(0)}"}}'.encode()
    )


def _day(ahead: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + ahead * 86_400))


async def _drivers(room: Path, stage_it: Callable[[Station], None], seconds: float) -> Measured:
    station = Station(room, trio.lowlevel.current_trio_token())
    stage_it(station)
    latencies, failed, began = [], itertools.count(), time.perf_counter()
    count = max(20, int(seconds * PER_S))
    finished = trio.Event()

    def ask(left: int) -> None:
        asked_ns = time.perf_counter_ns()

        def done(reply: AuthorizationReply) -> None:
            latencies.append(time.perf_counter_ns() - asked_ns)
            if reply.decision != "ALLOWED":
                next(failed)
            if len(latencies) == count:
                finished.set()

        station.visited.authorize(Authorize(CredentialIn("RFID", UID), HERE, deadline_ms=3000), done)
        if left:
            station.deadlines.after(1 / PER_S, partial(ask, left - 1))

    cpu = cpu_s(os.getpid())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(station.deadlines.run)
        ask(count - 1)
        await finished.wait()
        nursery.cancel_scope.cancel()
    took, used = time.perf_counter() - began, cpu_s(os.getpid()) - cpu
    station.store.close()
    return measured(latencies, took, used, next(failed))


def _routes(stage: Stage, stage_it: Callable[[Station], None]) -> Measured:
    log.configure("error")
    with tempfile.TemporaryDirectory(prefix="roamd-routes-") as room:
        found: Any = trio.run(_drivers, Path(room), stage_it, stage.seconds)
    return dict(found)


for _name, _stage_it in (
    ("routes", _nothing_hangs),
    ("routes-other-hangs", _another_hangs),
    ("routes-home-hangs-listed", _listed),
    ("routes-home-hangs-granted", _granted),
    ("routes-cut-granted", _cut),
):
    probe(_name)(partial(_routes, stage_it=_stage_it))
