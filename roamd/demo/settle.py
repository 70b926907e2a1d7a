"""The second part of the story (`--full`): what two companies do about a bill that is wrong, without anybody between.

They sign terms, the CSP's daemon disputes a bill that is dearer than its tariff, the CSO credits and replaces it, both
hold their records against each other, and sign the same statement of the month.
"""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from roamd.clock import rfc3339
from roamd.demo import objects
from roamd.demo.cast import Company, Story
from roamd.demo.checks import check, now_ms
from roamd.demo.objects import LISTED_DRIVER
from roamd.demo.processes import run_roamd

WRONG, CREDIT, RIGHT = "RMC-CDR-0012", "RMC-CDR-0012-C", "RMC-CDR-0013"
VERIFY = Path(__file__).parents[2] / "scripts" / "verify-evidence"
"""The auditor's script; it is not there where roamd is installed without its sources."""


def sign_terms(story: Story) -> None:
    """The two agree on terms: a bill that is more than 50 cents too dear is disputed by itself."""
    terms = ("--set", "dispute_above=0.50", "--set", "dispute_days=45")
    proposed = _told(story.csp, "agreement", "propose", story.csp.partner, *terms)
    number = str(proposed["number"])
    story.tell(story.csp, f"`roamd agreement propose {story.csp.partner}`: number {number}")
    path = f"/v1/peers/{story.cso.partner}/agreement/{number}"
    story.wait_until("the proposal arriving", lambda: story.cso.api.find(path))
    story.cso.daemon.run("agreement", "accept", story.cso.partner, number)
    for company in story.companies:
        story.wait_until(f"{company.name} being bound by it", lambda: _in_force(company, number))  # noqa: B023
    story.tell(story.cso, f"`roamd agreement accept`: number {number} is signed by both and in force")


def _in_force(company: Company, number: str) -> bool:
    return bool(str(company.api.get(f"/v1/peers/{company.partner}/agreement").get("number")) == number)


def overcharge(story: Story) -> None:
    """A bill of last month asks for more than its tariff: the CSP's daemon disputes it, line by line."""
    bill = _bill(WRONG, 12.0)
    story.cso.api.need("POST", f"/v1/records?peer={story.cso.partner}", bill)
    disputed = story.wait_until("the dispute reaching the CSO", lambda: _in_state(story.cso, WRONG, "DISPUTED"))
    story.tell(story.cso, f"{WRONG} is {disputed['reason']}")
    for line in disputed["history"][0]["evidence"]:
        story.tell(story.csp, f"its evidence: {line}")


def credit_and_replace(story: Story) -> None:
    """The CSO credits the bill and sends the right one; the CSP accepts it."""
    files = {CREDIT: _bill(CREDIT, -12.0, credit=True, credit_reference_id=WRONG), RIGHT: _bill(RIGHT, 9.0)}
    for name, bill in files.items():
        (story.room / f"{name}.json").write_text(json.dumps(bill))
    credit, right = (str(story.room / f"{name}.json") for name in files)
    story.cso.daemon.run("records", "credit", WRONG, credit, "--replacement", right)
    story.wait_until("the credit at the CSP", lambda: _in_state(story.csp, WRONG, "CREDITED"))
    story.wait_until("the right bill at the CSP", lambda: _in_state(story.csp, RIGHT, "DELIVERED"))
    story.csp.daemon.run("records", "accept", RIGHT)
    story.wait_until("the acceptance at the CSO", lambda: _in_state(story.cso, RIGHT, "ACCEPTED"))
    for company in story.companies:
        states = {name: company.api.get(f"/v1/records/{name}")["state"] for name in (WRONG, CREDIT, RIGHT)}
        check(states == {WRONG: "CREDITED", CREDIT: "DELIVERED", RIGHT: "ACCEPTED"}, f"{company.name} shows {states}")
    story.tell(None, f"both sides show {WRONG} as CREDITED and {RIGHT} as ACCEPTED")


def prove_it(story: Story) -> None:
    """An auditor checks one file, offline."""
    bundle = story.room / "evidence.json"
    story.csp.daemon.run("ledger", "export", WRONG, str(bundle))
    if not VERIFY.exists():
        story.tell(story.csp, f"`roamd ledger export {WRONG}` wrote {bundle.name}; its checker comes with the sources")
        return
    done = run_roamd(str(bundle), command=(sys.executable, str(VERIFY)))
    story.tell(story.csp, f"`scripts/verify-evidence`: {done.out.strip().splitlines()[-1]}")


def sign_the_month(story: Story) -> None:
    """They hold their records against each other, and sign the same statement of last month."""
    month = rfc3339(_last_month_ms())[:7]
    story.csp.daemon.run("reconcile", story.csp.partner)
    story.tell(story.csp, "`roamd reconcile`: nothing is left to be put right")
    printed = [company.daemon.run("statement", company.partner, month).out for company in story.companies]
    check(printed[0] == printed[1], "the two sides print different statements")
    story.csp.daemon.run("statement", story.csp.partner, month, "--sign")
    story.wait_until("the CSP's signature arriving", lambda: _statement(story.cso, month) == "PROPOSED")
    story.cso.daemon.run("statement", story.cso.partner, month, "--sign")
    for company in story.companies:
        story.wait_until(f"{company.name} having both signatures", lambda: _statement(company, month) == "AGREED")  # noqa: B023
    for line in printed[0].splitlines():
        story.timeline.plain(f"             {line}")
    story.tell(None, "both print the same statement, byte for byte, and both have signed it")


def _statement(company: Company, month: str) -> Any:
    return company.api.get(f"/v1/peers/{company.partner}/statements/{month}")["state"]


def _in_state(company: Company, name: str, state: str) -> Any:
    record = company.api.find(f"/v1/records/{name}")
    return record if record and record["state"] == state else None


def _bill(name: str, total: float, **changes: Any) -> objects.Object:
    ended_ms = _last_month_ms()
    tariffs = [objects.tariff(ended_ms - 2 * 3_600_000)]
    price = {"before_taxes": total, "taxes": [{"name": "VAT", "percentage": 21.0, "amount": round(total * 0.21, 2)}]}
    return objects.cdr(name, LISTED_DRIVER, ended_ms) | {"tariffs": tariffs, "total_cost": price} | changes


def _last_month_ms() -> int:
    """Ten days before this month: only a month that is over can be signed."""
    first = datetime.fromtimestamp(now_ms() / 1000, UTC).replace(day=1, hour=12)
    return int((first - timedelta(days=10)).timestamp() * 1000)


def _told(company: Company, *words: str) -> Any:
    return json.loads(company.daemon.run(*words, "--json").out)
