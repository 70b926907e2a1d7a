"""What is left after a storm, held against what the two companies' own systems know."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from roamd.demo.client import TooLateError, wait_until
from tests.storm.backends import Inbox, Publishing, Settlement
from tests.storm.world import Company, World

SETTLE_S = 180.0
VERIFY_S = 600.0
"""How long two daemons that nobody harms any more may take to be done: a whole storm's records may wait."""

SHOWN = 5


@dataclass
class Verdict:
    """The figures, and every sentence that must not be true."""

    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.faults

    def must(self, holds: object, otherwise: str) -> None:
        if not holds:
            self.faults.append(otherwise)

    def none(self, found: set[str] | list[str], what: str) -> int:
        """`found` must be empty; how many there are."""
        names = ", ".join(sorted(found)[:SHOWN])
        self.must(not found, f"{len(found)} {what}: {names}")
        return len(found)

    def as_json(self) -> str:
        return json.dumps({"ok": self.ok, **asdict(self)})


def settle(world: World, verdict: Verdict, publishers: tuple[Publishing, ...]) -> None:
    """Wait until both sides are quiet: nothing queued, all feeds equal."""
    try:
        wait_until("every queued record being receipted", lambda: _law(world.cso)["queued"] == 0, SETTLE_S)
        for publishing in publishers:
            follower = world.csp if publishing.company is world.cso else world.cso
            wait_until(
                f"{follower.name} having what {publishing.company.name} publishes",
                lambda: not _differing(publishing, follower),  # noqa: B023 - called before the next turn
                SETTLE_S,
            )
    except TooLateError as error:
        verdict.faults.append(str(error))


def judge_records(world: World, verdict: Verdict, settlement: Settlement, at_cso: Inbox, at_csp: Inbox) -> None:
    """The law, and each record once, with its content, at the other side."""
    law = _law(world.cso)
    accepted = set(settlement.accepted)
    sent = accepted - settlement.parked
    verdict.must(law["accepted"] == len(accepted), f"{len(accepted)} were acknowledged, {law['accepted']} are counted")
    verdict.must(law["accepted"] == law["settled"] + law["queued"] + law["parked"], f"the law does not hold: {law}")
    verdict.must(law["parked"] == len(settlement.parked), f"{law['parked']} are PARKED, not {len(settlement.parked)}")
    received = [row["record_id"] for row in world.csp.items("/v1/records?direction=in")]
    lost = verdict.none(sent - set(received), "records are lost")
    doubled = verdict.none([one for one, times in Counter(received).items() if times > 1], "records stand there twice")
    verdict.none(set(received) - sent, "records came that nobody handed in")
    events = {one for kind, one in at_csp.seen if kind == "record.received"}
    verdict.none(sent - events, "records were not told to the CSP's backend")
    doubled += verdict.none(_twice(at_csp, "record.received"), "records were told to the CSP's backend twice")
    doubled += verdict.none(_twice(at_cso, "record.state DELIVERED"), "records were told as delivered twice")
    verdict.none(sent - {one for kind, one in at_cso.seen if kind == "record.state DELIVERED"}, "deliveries not told")
    verdict.figures |= {
        "records accepted": law["accepted"],
        "records settled": law["settled"],
        "records queued": law["queued"],
        "records parked": law["parked"],
        "records lost": lost,
        "records doubled": doubled,
    }
    _judge_bodies(world, verdict, settlement, sorted(sent & set(received))[::97])


def _judge_bodies(world: World, verdict: Verdict, settlement: Settlement, sample: list[str]) -> None:
    changed = [
        one for one in sample if world.csp.read(f"/v1/records/{one}?direction=in")["record"] != settlement.accepted[one]
    ]
    verdict.none(changed, "records arrived changed")


def judge_objects(world: World, verdict: Verdict, publishers: tuple[Publishing, ...]) -> None:
    """Published as the backend had it acknowledged, mirrored as published."""
    diverged = 0
    for publishing in publishers:
        follower = world.csp if publishing.company is world.cso else world.cso
        wrong = {
            f"{feed}/{one}" for (feed, one), body in publishing.model.items() if _own(publishing, feed, one) != body
        }
        verdict.none(wrong, f"objects at {publishing.company.name} are not what was acknowledged")
        diverged += verdict.none(_differing(publishing, follower), f"objects differ at {follower.name}")
    verdict.figures |= {
        "object changes": sum(publishing.quota.done for publishing in publishers),
        "objects at the end": sum(len(publishing.model) for publishing in publishers),
        "objects diverged": diverged,
    }


def _own(publishing: Publishing, feed: str, object_id: str) -> Any:
    return publishing.company.insist("GET", f"/v1/{feed}/{object_id}").body


def _differing(publishing: Publishing, follower: Company) -> set[str]:
    """Objects that are at one side only, or not the same."""
    differing: set[str] = set()
    for feed in publishing.feeds:
        ours = {_name(one): one for one in publishing.company.items(f"/v1/{feed}")}
        theirs = {_name(one): one for one in follower.items(f"/v1/peers/{follower.partner}/{feed}")}
        names = ours.keys() | theirs.keys()
        differing |= {f"{feed}/{name}" for name in names if ours.get(name) != theirs.get(name)}
    return differing


def _name(body: Any) -> str:
    return str(body.get("id") or body.get("uid"))


def judge_ledgers(world: World, verdict: Verdict) -> None:
    """Both sides verify every hash and signature; nobody raised an alarm; no log has a traceback."""
    for company in world.companies:
        done = company.daemon.run("ledger", "verify", "--json", expect=(), within_s=VERIFY_S)
        verdict.must(done.code == 0, f"the ledger of {company.name} does not verify: {done.out or done.err}")
        report: Any = done.json if done.code == 0 else {}
        verdict.figures[f"ledger entries at {company.name}"] = report.get("entries")
        alarms = company.read("/v1/status")["alarms"]
        verdict.must(not alarms, f"{company.name} raised alarms: {alarms}")
        _judge_log(company, verdict)


def _judge_log(company: Company, verdict: Verdict) -> None:
    text = company.daemon.log_file.read_text("utf-8", "replace")
    for sign in (
        "Traceback",
        "daemon_failed",
        "link_failed",
        "link_broke_rule",
        "api_request_failed",
        "request_failed",
    ):
        verdict.must(sign not in text, f"the log of {company.name} has {text.count(sign)} times {sign!r}")


def _law(company: Company) -> dict[str, int]:
    return dict(company.read("/v1/status")["records"])


def _twice(inbox: Inbox, kind: str) -> list[str]:
    return [one for (name, one), ids in inbox.seen.items() if name == kind and len(ids) > 1]
