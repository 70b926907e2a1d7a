"""A clearing house between two daemons that cannot dial each other: it is killed with what it carries."""

import os
import signal
from collections import Counter
from typing import Any

from roamd.demo import objects
from tests.support.daemons import Company, Fleet

NOW_MS = 1_780_000_000_000
SETTINGS = "[discovery]\nmdns = false\n\n[link]\nbackoff_s = 1\n"


def names(kind: str, count: int = 40) -> list[str]:
    return [f"{kind}-{number:02}" for number in range(count)]


def hand_in(cso: Company, records: list[str]) -> None:
    cso.api.need("POST", "/v1/records", [objects.cdr(name, objects.LISTED_DRIVER, NOW_MS) for name in records])


def received(csp: Company) -> Counter[str]:
    """How often its backend was told of each record."""
    events = csp.api.items("/v1/events?limit=1000")
    return Counter(event["data"]["record_id"] for event in events if event["type"] == "record.received")


def law(company: Company) -> dict[str, int]:
    return dict(company.api.get("/v1/status")["records"])


def state(company: Company, name: str) -> Any:
    return company.api.get(f"/v1/records/{name}")["state"]


def chains(company: Company, other: Company) -> list[tuple[bool, int, int]]:
    """Whether it is our own, entries, and receipted ones; one for each author and epoch."""
    rows = company.peer(other)["chains"]
    return sorted((row["author"] == "us", row["entries"], row["receipted"]) for row in rows)


def test_a_clearing_house_that_is_killed_with_what_it_carries_loses_nothing_and_doubles_nothing(fleet: Fleet) -> None:
    hub = fleet.company("hub", "NL*RMH", "clearing-house", backend=False, settings=SETTINGS)
    cso = fleet.company("cso", "BE*RMC", backend=False, advertise=False, settings=SETTINGS)
    csp = fleet.company("csp", "FR*RMD", backend=False, advertise=False, settings=SETTINGS)
    fleet.start(hub, cso, csp)
    fleet.pair(hub, cso)
    fleet.pair(hub, csp)
    fleet.pair(cso, csp, via=hub)
    assert hub.daemon.process is not None

    before, carried, during, after = (names(kind) for kind in ("BEFORE", "CARRIED", "DURING", "AFTER"))
    hand_in(cso, before)
    fleet.wait_until("the first receipts", lambda: law(cso)["queued"] == 0)
    os.kill(hub.daemon.process.pid, signal.SIGSTOP)
    hand_in(cso, carried)  # into the sockets of a process that reads no more, and then is no more
    csp.api.need("POST", f"/v1/records/{before[0]}/accept")
    hub.daemon.kill()
    hand_in(cso, during)
    csp.api.need("POST", f"/v1/records/{before[1]}/accept")
    assert law(cso) == {"accepted": 120, "settled": 40, "queued": 80, "parked": 0}

    fleet.start(hub)
    hand_in(cso, after)
    hub.daemon.kill()  # whatever it is at just now
    fleet.start(hub)
    fleet.wait_until("nothing being queued any more", lambda: law(cso)["queued"] == 0)
    fleet.wait_until("both being accepted", lambda: [state(cso, one) for one in before[:2]] == ["ACCEPTED"] * 2)

    assert law(cso) == {"accepted": 160, "settled": 160, "queued": 0, "parked": 0}
    assert received(csp) == dict.fromkeys(before + carried + during + after, 1)
    fleet.wait_until("the receipt of what the CSP said", lambda: chains(csp, cso)[-1] == (True, 2, 2))
    assert chains(cso, csp) == [(False, 2, 2), (True, 160, 160)]
    for company in (hub, cso, csp):
        company.daemon.run("ledger", "verify")
    assert hub.peer(cso)["chains"] == []
    assert [route["now"] for route in cso.peer(csp)["routes"]] == [cso.partners["hub"]] * 3
