"""A bill is disputed, credited and replaced between two real daemons that are killed on the way."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from roamd.demo import objects
from roamd.demo.objects import APP_DRIVER
from tests.support.daemons import Company, Fleet

NOW_MS = 1_780_000_000_000
SCRIPT = Path(__file__).parents[2] / "scripts" / "verify-evidence"


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
    the_clerks_agree(fleet, cso, csp)


def the_clerks_agree(fleet: Fleet, cso: Company, csp: Company) -> None:
    """Evidence, a round of reconciliation and the signed statement, by the command line alone."""
    for name, company in (("cso", cso), ("csp", csp)):
        file = fleet.room / f"{name}-evidence.json"
        company.daemon.run("ledger", "export", "CDR-1", str(file))
        checked = subprocess.run([sys.executable, SCRIPT, file], capture_output=True, text=True, check=False)
        assert checked.stdout.endswith("state: CREDITED\nevidence: ok\n"), checked.stderr
    assert json.loads(cso.daemon.run("reconcile", cso.partners["csp"], "--json").out)["records"] == 3
    month = time.strftime("%Y-%m", time.gmtime(NOW_MS / 1000))
    cso.daemon.run("statement", cso.partners["csp"], month, "--sign")
    path = f"/v1/peers/{csp.partners['cso']}/statements/{month}"
    fleet.wait_until("the proposal", lambda: (csp.api.find(path) or {}).get("state") == "PROPOSED")
    files = [fleet.room / "cso.pdf", fleet.room / "csp.pdf"]
    theirs = csp.daemon.run("statement", csp.partners["cso"], month, "--sign", "--pdf", str(files[1]))
    fleet.wait_until("the signature", lambda: api_state(cso, cso.partners["csp"], month) == "AGREED")
    ours = cso.daemon.run("statement", cso.partners["csp"], month, "--pdf", str(files[0]))
    assert ours.out == theirs.out
    assert "CREDIT " in ours.out
    assert files[0].read_bytes() == files[1].read_bytes()


def api_state(company: Company, peer: str, month: str) -> str:
    return str((company.api.find(f"/v1/peers/{peer}/statements/{month}") or {}).get("state"))
