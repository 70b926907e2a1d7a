"""May this driver charge? From the CSO's backend to the CSP's and back, by every way there is."""

import asyncio
import itertools
from functools import partial

import msgspec

from roamd.demo import objects
from tests.bench import bodies, http, stream
from tests.bench.load import Measured
from tests.bench.probes import probe
from tests.bench.stage import IN_PROCESS, WITH_BACKEND, Stage

BATCH = 64
ALLOWED = b'"decision":"ALLOWED"'
LISTED = b'"source":"WHITELIST"'
LISTED_DRIVER = objects.Driver("", "04AABBCCDDEE80", "NL-INP-C00000001-0")

quick_question = bodies.remembered(lambda number: bodies.encode(bodies.question(number, IN_PROCESS)))
real_question = bodies.remembered(lambda number: bodies.encode(bodies.question(number, WITH_BACKEND)))


def _by_http(stage: Stage, in_flight: int, provider: str = IN_PROCESS) -> Measured:
    companies = stage.companies
    csp = companies.quick if provider == IN_PROCESS else companies.csp
    question = quick_question if provider == IN_PROCESS else real_question
    api = companies.cso.api
    request = bodies.remembered(lambda number: http.post(api, "/v1/authorizations", question(number)))
    return asyncio.run(http.closed_loop(api.address, request, in_flight, stage.seconds, companies.pids(csp), ALLOWED))


def _by_stream(stage: Stage, in_flight: int, provider: str = IN_PROCESS) -> Measured:
    companies = stage.companies
    csp = companies.quick if provider == IN_PROCESS else companies.csp
    question = quick_question if provider == IN_PROCESS else real_question
    pids = companies.pids(csp)
    return asyncio.run(
        stream.closed_loop(companies.cso.api, "authorize", question, in_flight, stage.seconds, pids, ALLOWED)
    )


for _in_flight in (1, 16, 64, 256):
    probe(f"authorize-http-{_in_flight}")(partial(_by_http, in_flight=_in_flight))
for _in_flight in (1, 64, 256):
    probe(f"authorize-stream-{_in_flight}")(partial(_by_stream, in_flight=_in_flight))


@probe("authorize-batch")
def by_batch(stage: Stage) -> Measured:
    """Arrays of 64 by HTTP, four at a time; a batch counts as 64."""
    companies = stage.companies
    api = companies.cso.api

    def request(number: int) -> bytes:
        elements = b",".join(quick_question(number * BATCH + place) for place in range(BATCH))
        return http.post(api, "/v1/authorizations", b"[" + elements + b"]")

    found = asyncio.run(
        http.closed_loop(
            api.address, bodies.remembered(request), 4, stage.seconds, companies.pids(companies.quick), ALLOWED
        )
    )
    return found | {"per_s": found["per_s"] * BATCH, "cpu_s_per_1000": found["cpu_s_per_1000"] / BATCH}


@probe("authorize-real-http-64")
def real_backends_by_http(stage: Stage) -> Measured:
    """Single requests in, and a request to the CSP's backend for each."""
    stage.companies.answer_by_http()
    return _by_http(stage, 64, WITH_BACKEND)


@probe("authorize-real-stream-64")
def real_backends_by_stream(stage: Stage) -> Measured:
    """Both backends on the stream, 64 in flight."""
    stage.companies.answer_by_stream()
    return _by_stream(stage, 64, WITH_BACKEND)


@probe("authorize-real-stream-256")
def more_by_stream(stage: Stage) -> Measured:
    """Both backends on the stream, 256 in flight."""
    stage.companies.answer_by_stream()
    return _by_stream(stage, 256, WITH_BACKEND)


@probe("authorize-whitelist-stream")
def from_the_whitelist(stage: Stage) -> Measured:
    """One at a time by the stream, for a driver on the list: nobody is asked."""
    companies = stage.companies
    card = LISTED_DRIVER.user_credential(bodies.BASE_MS) | {"country_code": "NL", "party_id": "INP"}
    companies.quick.api.need("PUT", f"/v1/user-credentials/{LISTED_DRIVER.uid}", card)
    label = companies.cso.partners[companies.quick.name]
    path = f"/v1/peers/{label}/user-credentials/{LISTED_DRIVER.uid}"
    companies.fleet.wait_until("the whitelist arriving", lambda: companies.cso.api.find(path))
    body = msgspec.json.encode({"credential": LISTED_DRIVER.credential()})
    return asyncio.run(
        stream.closed_loop(
            companies.cso.api, "authorize", lambda _number: body, 1, stage.seconds, companies.pids(), LISTED
        )
    )


def _paced(stage: Stage, share: float, provider: str = IN_PROCESS) -> Measured:
    """An open loop by the stream at a share of what a closed one reaches just before."""
    companies = stage.companies
    if provider == WITH_BACKEND:
        companies.answer_by_stream()
    csp = companies.quick if provider == IN_PROCESS else companies.csp
    question = quick_question if provider == IN_PROCESS else real_question
    per_s = _by_stream(stage, 256, provider)["per_s"] * share
    pids = companies.pids(csp)
    return asyncio.run(stream.paced(companies.cso.api, "authorize", question, per_s, stage.seconds, pids, ALLOWED))


for _share in (0.5, 0.8):
    probe(f"authorize-stream-at-{_share:.0%}")(partial(_paced, share=_share))
    probe(f"authorize-real-stream-at-{_share:.0%}")(partial(_paced, share=_share, provider=WITH_BACKEND))


def _ocpi(stage: Stage, kind: str, in_flight: int) -> Measured:
    return stage.ocpi.ask(kind, in_flight, stage.seconds)


for _kind, _in_flight in itertools.product(("authorize",), (1, 16, 64, 256)):
    probe(f"ocpi-{_kind}-{_in_flight}")(partial(_ocpi, kind=_kind, in_flight=_in_flight))
probe("ocpi-cdr-64")(partial(_ocpi, kind="cdr", in_flight=64))
probe("ocpi-cdr-durable-1")(partial(_ocpi, kind="cdr-durable", in_flight=1))
probe("ocpi-cdr-durable-64")(partial(_ocpi, kind="cdr-durable", in_flight=64))
probe("echo-1")(partial(_ocpi, kind="echo", in_flight=1))
probe("echo-64")(partial(_ocpi, kind="echo", in_flight=64))
