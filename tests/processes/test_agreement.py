"""Two daemons agree by the command line alone: propose, compare, accept; and every refusal names the clause."""

import json
from typing import Any

from roamd.demo import objects
from tests.support.daemons import Company, Fleet

NOW_MS = 1_780_000_000_000


def agreement(company: Company, *words: str, expect: tuple[int, ...] = (0,)) -> str:
    done = company.daemon.run("agreement", *words, expect=expect)
    return done.err if expect == (1,) else done.out


def propose(company: Company, peer: str, *words: str) -> int:
    """The number that it got: which side writes the odd ones depends on the endpoint ids."""
    return int(json.loads(agreement(company, "propose", peer, *words, "--json"))["number"])


def history(company: Company, peer: str) -> dict[int, tuple[str, str | None]]:
    items = json.loads(agreement(company, "history", peer, "--json"))["items"]
    return {one["number"]: (one["state"], one["reason"]) for one in items}


def until_it_says(fleet: Fleet, company: Company, peer: str, words: str) -> str:
    """What `roamd agreement show` prints, once these words are in it."""

    def look() -> str | None:
        out = agreement(company, "show", peer)
        return out if words in out else None

    return fleet.wait_until(f"{words!r} being shown", look)


def test_two_operators_propose_compare_and_accept_and_each_refusal_names_the_clause(fleet: Fleet) -> None:
    cso = fleet.company("cso", "BE*RMC", backend=False)
    csp = fleet.company("csp", "FR*RMD", backend=False)
    fleet.start(cso, csp)
    fleet.pair(cso, csp)
    them, us = cso.partners["csp"], csp.partners["cso"]

    for clause in ("tolerance=-1", "us.parties=SE*QQQ"):
        refused = agreement(cso, "propose", them, "--set", clause, expect=(1,))
        assert f"{clause.partition('=')[0]}: " in refused
    first = propose(cso, them, "--set", "dispute_days=45", "--set", "currencies=CHF", "--remove",
                    "them.services=stop-session")  # fmt: skip
    compared = until_it_says(fleet, csp, us, f"Agreement {first}, the partner proposes:")
    proposed = compared.partition("the partner proposes:")[2]
    assert "dispute_days: 30 becomes 45" in proposed
    assert "us.services: drops stop-session" in proposed
    assert "cannot be signed" not in proposed
    assert agreement(csp, "accept", us, str(first)).strip() == f"Agreement {first} is signed by both: IN_FORCE."
    until_it_says(fleet, cso, them, f"agreement {first}\n")

    clause = f"not agreed: currencies (agreement {first})"
    bill = objects.cdr("CDR-1", objects.LISTED_DRIVER, NOW_MS)
    posted: dict[str, Any] = cso.api.need("POST", f"/v1/records?peer={them}", bill)
    assert (posted["state"], posted["reason"]) == ("PARKED", f"{them}: {clause}")
    assert clause in cso.daemon.run("records", "show", "CDR-1").out
    stop = csp.api.request("POST", f"/v1/commands/STOP_SESSION?peer={us}", {"session_id": "S-1"})
    assert stop.status == 403
    assert f"not agreed: services.stop-session (agreement {first})" in stop.body["detail"]

    second = propose(csp, us, "--set", "dispute_days=5")
    until_it_says(fleet, cso, them, f"Agreement {second}, the partner proposes:")
    agreement(cso, "decline", them, str(second), "--reason", "five days are too few")
    wanted = {first: ("IN_FORCE", None), second: ("DECLINED", "five days are too few")}
    for company, peer in ((cso, them), (csp, us)):
        fleet.wait_until("the same history", lambda: history(company, peer) == wanted)  # noqa: B023
        company.daemon.run("ledger", "verify")
