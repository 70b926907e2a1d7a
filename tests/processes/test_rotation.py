"""The rehearsal: a company replaces its key by the command line, and its partner goes on as if nothing were."""

import json
from typing import Any

from roamd.demo import objects
from tests.support.daemons import Company, Fleet

NOW_MS = 1_780_000_000_000


def keys(company: Company) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(company.daemon.run("identity", "--json").out)
    return told


def restart(fleet: Fleet, company: Company, other: Company) -> None:
    assert company.daemon.stop() == 0
    fleet.start(company)
    fleet.wait_linked(company, other)


def bill(fleet: Fleet, cso: Company, number: int) -> None:
    cso.api.need("POST", f"/v1/records?peer={cso.partners['csp']}", objects.cdr(f"CDR-{number}", objects.LISTED_DRIVER,
                                                                               NOW_MS))  # fmt: skip
    fleet.wait_until("the receipt", lambda: cso.api.get(f"/v1/records/CDR-{number}")["state"] == "DELIVERED")


def test_a_key_is_replaced_with_an_overlap_and_no_record_is_lost(fleet: Fleet) -> None:
    cso, csp = fleet.company("cso", "BE*RMC", backend=False), fleet.company("csp", "FR*RMD", backend=False)
    fleet.start(cso, csp)
    fleet.pair(cso, csp)
    name = keys(cso)["endpoint_id"]
    bill(fleet, cso, 1)

    cso.daemon.run("identity", "rotate")
    refused = cso.daemon.run("identity", "switch", expect=(1,))
    assert "restart it" in refused.err
    restart(fleet, cso, csp)
    fleet.wait_until("the partner knowing the next key", lambda: keys(cso)["not_told"] == [])
    assert [key["state"] for key in keys(cso)["keys"]] == ["IN_USE", "ANNOUNCED"]
    bill(fleet, cso, 2)

    cso.daemon.run("identity", "switch")
    restart(fleet, cso, csp)
    assert [key["state"] for key in keys(cso)["keys"]] == ["RETIRED", "IN_USE"]
    assert keys(cso)["endpoint_id"] == name
    shown = csp.peer(cso)["identity"]
    assert (shown["number"], shown["key_id"]) == (1, keys(cso)["keys"][1]["key_id"])
    assert cso.api.get("/v1/status")["alarms"] == []
    bill(fleet, cso, 3)
    for company in (cso, csp):
        assert json.loads(company.daemon.run("ledger", "verify", "--json").out)["ok"]
    chains = csp.api.get("/v1/ledger/chains")["items"]
    assert [chain["author"] for chain in chains].count(csp.partners["cso"]) == 2

    assert cso.daemon.stop() == 0
    (cso.daemon.directory / "identity.succession").unlink()
    assert name in cso.daemon.run("run", expect=(78,)).err, "whose store it is; without it the key names another one"
