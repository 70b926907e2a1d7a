"""An authorization must be quick whatever else the link carries: beside a backlog of records, beside a whole feed."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable

from tests.bench import bodies, stream
from tests.bench.authorization_probes import ALLOWED
from tests.bench.load import Measured, Tally
from tests.bench.probes import probe
from tests.bench.record_probes import BATCH, PATIENCE_S
from tests.bench.stage import Companies, Stage
from tests.support.daemons import Company

BACKLOG = 6000
LOOK_S = 0.5
"""Between two looks at how far the rest is: a look costs the daemon milliseconds."""
_runs = itertools.count(1)


async def while_busy(
    cso: Company, question: Callable[[int], bytes], busy: Callable[[], bool], pids: tuple[int, ...]
) -> Measured:
    """One authorization at a time by the stream, for as long as `busy` says that something else goes on."""
    tally = Tally(pids)
    async with stream.connected(cso.api) as client:
        pipeline = stream.Pipeline(client, tally, "authorize", question, ALLOWED)
        await pipeline.put(1)
        tally.begin()
        look_at = time.monotonic() + LOOK_S
        end = time.monotonic() + PATIENCE_S
        while True:
            await pipeline.take()
            if (now := time.monotonic()) > look_at:
                look_at = now + LOOK_S
                if now > end or not await asyncio.to_thread(busy):
                    break
            await pipeline.put(1)
        tally.end()
    return tally.measured()


@probe("authorize-beside-records", once=True)
def beside_records(stage: Stage) -> Measured:
    """The CSP was away while CDRs were handed in; it comes back, and is asked while it takes them in."""
    companies = stage.companies
    quick, label = companies.quick, companies.cso.partners[companies.quick.name]
    quick.daemon.kill()
    with contextlib.ExitStack() as back:
        back.callback(companies.fleet.start, quick)
        _hand_in(companies, f"B{next(_runs)}")
    companies.fleet.wait_linked(companies.cso, quick)

    def busy() -> bool:
        return bool(companies.cso.api.get(f"/v1/peers/{label}")["records"]["queued"])

    began, waiting = time.monotonic(), companies.cso.api.get(f"/v1/peers/{label}")["records"]["queued"]
    question = bodies.remembered(lambda number: bodies.encode(bodies.question(number, "NL-INP")))
    found = asyncio.run(while_busy(companies.cso, question, busy, companies.pids(quick)))
    return found | {"records_per_s": waiting / (time.monotonic() - began)}


def _hand_in(companies: Companies, run: str) -> None:
    api = companies.cso.api
    for first in range(0, BACKLOG, BATCH * 8):
        texts = [bodies.numbered_cdr(number, run, "NL-INP") for number in range(first, first + BATCH * 8)]
        api.need("POST", "/v1/records", b"[" + b",".join(texts) + b"]")
