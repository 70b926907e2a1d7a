"""What was charged: CDRs of 3 KB from the CSO's backend into the CSP's ledger, until the signed receipt is stored.

Every record is committed with a full sync at the CSO before it is answered, sent, committed with a full sync at the CSP
with its signed head, and receipted; a run ends when the last receipt is stored at the CSO.
"""

import asyncio
import itertools
import time
from collections.abc import Callable
from functools import partial

import msgspec

from roamd.demo.client import wait_until
from roamd.demo.processes import Daemon
from tests.bench import bodies, http, stream
from tests.bench.load import Measured, Tally, measured
from tests.bench.machine import cpu_s
from tests.bench.probes import probe
from tests.bench.stage import Companies, Stage, pid_of

BATCH = 64
PATIENCE_S = 120.0
QUEUED = b'"state":"QUEUED"'
_runs = itertools.count(1)

HandIn = Callable[[Companies, Callable[[int], bytes], float], Measured]


def _queued(companies: Companies) -> int:
    items = companies.cso.api.get("/v1/peers")["items"]
    return sum(peer["records"]["queued"] for peer in items)


def relayed(companies: Companies, seconds: float, hand_in: HandIn) -> Measured:
    """Hand records in for so long, then wait for the last receipt; rate and cost count until then."""
    run = f"R{next(_runs)}"
    pids = companies.pids(companies.csp)
    bodies.numbered_cdr(0)
    began, cpu_before = time.monotonic(), cpu_s(*pids)
    found = hand_in(companies, lambda number: bodies.numbered_cdr(number, run), seconds)
    wait_until("the last receipt", lambda: _queued(companies) == 0, PATIENCE_S)
    took = time.monotonic() - began
    return found | {
        "per_s": found["count"] / took,
        "cpu_s_per_1000": (cpu_s(*pids) - cpu_before) / found["count"] * 1000,
        "accepted_per_s": found["per_s"],
    }


@probe("cdr-http-64")
def by_http(stage: Stage) -> Measured:
    """One POST each, 64 in flight."""

    def hand_in(companies: Companies, body: Callable[[int], bytes], seconds: float) -> Measured:
        api, pids = companies.cso.api, companies.pids(companies.csp)
        make = lambda number: http.post(api, "/v1/records", body(number))  # noqa: E731 -- shown where it is used
        return asyncio.run(http.closed_loop(api.address, make, 64, seconds, pids, QUEUED, warm_up_s=0))

    return relayed(stage.companies, stage.seconds, hand_in)


@probe("cdr-batch")
def by_batch(stage: Stage) -> Measured:
    """Arrays of 64 by HTTP, four at a time."""

    def hand_in(companies: Companies, body: Callable[[int], bytes], seconds: float) -> Measured:
        api, pids = companies.cso.api, companies.pids(companies.csp)

        def request(number: int) -> bytes:
            texts = b",".join(body(number * BATCH + place) for place in range(BATCH))
            return http.post(api, "/v1/records", b"[" + texts + b"]")

        found = asyncio.run(http.closed_loop(api.address, request, 4, seconds, pids, QUEUED, warm_up_s=0))
        return found | {"count": found["count"] * BATCH, "per_s": found["per_s"] * BATCH}

    return relayed(stage.companies, stage.seconds, hand_in)


@probe("cdr-stream-256")
def by_stream(stage: Stage) -> Measured:
    """256 in flight on the stream."""
    return relayed(stage.companies, stage.seconds, hand_in_by_stream)


def hand_in_by_stream(companies: Companies, body: Callable[[int], bytes], seconds: float) -> Measured:
    """256 in flight."""
    api, pids = companies.cso.api, companies.pids(companies.csp)
    return asyncio.run(stream.closed_loop(api, "record", body, 256, seconds, pids, QUEUED, warm_up_s=0))


def _paced(stage: Stage, share: float) -> Measured:
    """An open loop by the stream at a share of what the whole way takes; the latency is that of the own commit."""
    per_s = by_stream(stage)["per_s"] * share

    def hand_in(companies: Companies, body: Callable[[int], bytes], seconds: float) -> Measured:
        api, pids = companies.cso.api, companies.pids(companies.csp)
        return asyncio.run(stream.paced(api, "record", body, per_s, seconds, pids, QUEUED))

    return relayed(stage.companies, stage.seconds, hand_in)


for _share in (0.5, 0.8):
    probe(f"cdr-stream-at-{_share:.0%}")(partial(_paced, share=_share))


@probe("cdr-alone")
def alone(stage: Stage) -> Measured:
    """One at a time by the stream; a second stream hears of the receipt. From the message to the stored receipt."""
    return asyncio.run(_alone(stage.companies, f"A{next(_runs)}", stage.seconds))


async def _alone(companies: Companies, run: str, seconds: float) -> Measured:
    api, tally = companies.cso.api, Tally(companies.pids(companies.csp))
    async with stream.connected(api) as client, stream.connected(api) as listener:
        await listener.ask("events.subscribe", after=_newest_event(companies))
        tally.begin()
        end = time.monotonic() + seconds
        for number in itertools.count():
            if time.monotonic() > end:
                break
            began = time.perf_counter_ns()
            await client.send([stream.request("record", number, bodies.numbered_cdr(number, run))])
            await _delivered(listener, f"{run}-{number}")
            tally.latencies_ns.append(time.perf_counter_ns() - began)
            await client.receive()
        tally.end()
    return measured(tally.latencies_ns, tally.took_s, tally.cpu_used_s)


def _newest_event(companies: Companies) -> str:
    cursor = "0"
    while (page := companies.cso.api.get(f"/v1/events?limit=1000&after={cursor}"))["items"]:
        cursor = page["next"]
    return cursor


class _Told(msgspec.Struct):
    type: str
    data: dict[str, msgspec.Raw]


async def _delivered(listener: stream.StreamClient, record_id: str) -> None:
    while True:
        for message in await listener.receive():
            for event in msgspec.json.decode(message.items or b"[]", type=list[_Told]):
                if event.type == "record.state" and bytes(event.data["record_id"]) == f'"{record_id}"'.encode():
                    return


def accepted_by(daemon: Daemon, seconds: float) -> Measured:
    """How fast one daemon alone takes records in by the stream, 256 in flight; no peer of theirs is there."""
    run = f"N{next(_runs)}"
    pids = (pid_of(daemon),)
    bodies.numbered_cdr(0)
    return asyncio.run(
        stream.closed_loop(daemon.api, "record", lambda n: bodies.numbered_cdr(n, run), 256, seconds, pids, QUEUED)
    )
