"""A bill is disputed, credited and replaced between two real daemons that are killed on the way."""

import json
from typing import Any

from roamd.demo import objects
from roamd.demo.objects import APP_DRIVER
from tests.support.daemons import Company, Fleet

NOW_MS = 1_780_000_000_000


def bill(name: str, **changes: Any) -> dict[str, Any]:
    return {**objects.cdr(name, APP_DRIVER, NOW_MS, session_id="S-1", reference=None), **changes}


def record(company: Company, name: str) -> dict[str, Any]:
    found: dict[str, Any] = company.api.find(f"/v1/records/{name}") or {}
    return found


def states(company: Company) -> dict[str, str]:
    return {each["record_id"]: each["state"] for each in company.api.items("/v1/records")}


def test_a_dispute_ends_in_a_credit_and_both_sides_show_the_same_after_kills(fleet: Fleet) -> None:
    cso, csp = fleet.company("cso", "BE*RMC"), fleet.company("csp", "FR*RMD")
    fleet.start(cso, csp)
    fleet.pair(cso, csp)
    cso.api.need("PUT", f"/v1/tariffs/{objects.TARIFF_ID}", objects.tariff(NOW_MS - 7_200_000))
    theirs = f"/v1/peers/{csp.partners['cso']}/tariffs/{objects.TARIFF_ID}"
    fleet.wait_until("the tariff", lambda: csp.api.find(theirs))
    peer = cso.partners["csp"]
    cso.api.need("POST", f"/v1/records?peer={peer}", bill("CDR-1", total_cost={"before_taxes": 99}))
    fleet.wait_until("the price", lambda: record(csp, "CDR-1").get("price"))
    price = record(csp, "CDR-1")["price"]
    assert price["verdict"] == "DIFFERS"

    csp.daemon.run("records", "dispute", "CDR-1", "price", "--detail", "see the lines", "--evidence", price["lines"][0])
    csp.daemon.kill()
    fleet.start(csp)
    fleet.wait_until("the dispute", lambda: states(cso)["CDR-1"] == "DISPUTED")
    assert record(cso, "CDR-1")["history"][0]["evidence"] == [price["lines"][0]]

    credit = bill("CDR-1-C", credit=True, credit_reference_id="CDR-1", total_cost={"before_taxes": -99})
    (fleet.room / "credit.json").write_text(json.dumps(credit))
    (fleet.room / "again.json").write_text(json.dumps(bill("CDR-2")))
    cso.daemon.run("records", "credit", "CDR-1", str(fleet.room / "credit.json"), "--replacement",
                   str(fleet.room / "again.json"))  # fmt: skip
    cso.daemon.kill()
    fleet.start(cso)
    fleet.wait_until("the replacement", lambda: record(csp, "CDR-2").get("price"))
    csp.daemon.run("records", "accept", "CDR-2")
    wanted = {"CDR-1": "CREDITED", "CDR-1-C": "DELIVERED", "CDR-2": "ACCEPTED"}
    fleet.wait_until("the same on both sides", lambda: states(cso) == states(csp) == wanted)
    assert record(csp, "CDR-2")["price"]["verdict"] == "AGREES"
    for company in (cso, csp):
        company.daemon.run("ledger", "verify")
