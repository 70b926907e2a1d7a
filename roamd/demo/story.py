"""The story that the demo tells: companies meet, pair, roam and settle, through the death of one, and through a third.

`STEPS` at the end is the table of contents. Each step drives the daemons only as an operator (the command) or a
backend (the HTTP API) would, and checks what it claims: a step that cannot show its point raises, and the demo fails.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from roamd.demo import objects
from roamd.demo.cast import Company, Story, found
from roamd.demo.checks import check, now_ms
from roamd.demo.clearing import cross_sealed, introduce_them, join_a_clearing_house, mix_the_ways, pair_through_it
from roamd.demo.objects import (
    CSO_NAME,
    CSO_PARTY,
    CSP_NAME,
    CSP_PARTY,
    EVSE_UID,
    LISTED_DRIVER,
    LIVE_DRIVER,
    LOCATION_ID,
)
from roamd.demo.offline import grant_two_drivers, reserve_from_the_app, show_a_strange_card, start_on_a_grant
from roamd.demo.remote import start_from_the_app, stop_from_the_app
from roamd.demo.settle import credit_and_replace, overcharge, prove_it, sign_terms, sign_the_month
from roamd.demo.spying import alter_the_proof, look_into_the_house
from roamd.discovery.multicast import multicast_trouble

SESSION_ID = "RMC-SESSION-0001"
FIRST_CDR = "RMC-CDR-0001"
TEN_CDRS = tuple(f"RMC-CDR-{number:04}" for number in range(2, 12))

RECEIPTED = {"DELIVERED", "ACCEPTED", "FINAL"}


# --- two companies ----------------------------------------------------------------------------------------------


def found_two_companies(story: Story) -> None:
    """Two companies are founded."""
    story.cso = found(story, "cso", CSO_NAME, CSO_PARTY)
    story.csp = found(story, "csp", CSP_NAME, CSP_PARTY)
    story.mdns_trouble = multicast_trouble("127.0.0.1")
    for company, other in ((story.cso, story.csp), (story.csp, story.cso)):
        _set_discovery(story, company, other)


def _set_discovery(story: Story, company: Company, other: Company) -> None:
    """mDNS on loopback (a daemon that listens on 127.0.0.1 uses no other interface), or a static candidate."""
    settings = company.daemon.directory / "conf.d" / "demo.toml"
    settings.parent.mkdir(exist_ok=True)
    if story.mdns_trouble is None:
        settings.write_text("[discovery]\nmdns = true\n")
    else:
        static = f'[[candidates]]\naddress = "{other.daemon.link_address}"\n'
        settings.write_text(f"[discovery]\nmdns = false\n\n{static}")


def start_both_daemons(story: Story) -> None:
    """Both daemons start."""
    for company in story.companies:
        company.daemon.start()
    for company in story.companies:
        company.daemon.wait_ready(story.patience_s)
        story.tell(company, f"ready: link {company.daemon.link_address}, API http://{company.api.address}/v1")


def find_each_other(story: Story) -> None:
    """They see each other, and trust nobody yet."""
    if story.mdns_trouble is not None:
        story.tell(None, f"no multicast on loopback here ({story.mdns_trouble}): static candidates instead of mDNS")
    for company, other in ((story.cso, story.csp), (story.csp, story.cso)):
        seen = story.wait_until(f"{company.name} seeing {other.name}", lambda: _candidate(company, other))  # noqa: B023
        sources = ", ".join(seen.get("sources", []))
        story.tell(company, f"sees somebody at {other.daemon.link_address} ({sources}); no name, no trust")


def _candidate(company: Company, other: Company) -> Any:
    candidates = company.api.get("/v1/candidates")["items"]
    address = other.daemon.link_address
    return next((candidate for candidate in candidates if address in candidate.get("addresses", [])), None)


# --- pairing ----------------------------------------------------------------------------------------------------


def pair_by_invitation(story: Story) -> None:
    """The CSO invites, the CSP joins, the CSO confirms."""
    line = story.cso.daemon.run("invite").out.strip()
    story.tell(story.cso, f"`roamd invite` printed one line: {line[:34]}...")
    story.csp.daemon.run("pair", line, expect=(75,))
    story.tell(story.csp, "`roamd pair` ended with 75: waiting for the CSO's confirmation")
    pending = _the_only_peer(story.cso)
    story.cso.daemon.run("peers", "confirm", pending["peer"])
    story.tell(story.cso, f"`roamd peers confirm {pending['peer']}`")
    for company in story.companies:
        company.partner = _the_only_peer(company)["peer"]
    words = [company.api.get(f"/v1/peers/{company.partner}").get("words") for company in story.companies]
    check(words[0] and words[0] == words[1], f"the two sides show different words: {words[0]!r} and {words[1]!r}")
    story.tell(None, f"both operators read the same words: {_spoken(words[0])}")


def _the_only_peer(company: Company) -> Any:
    peers = company.api.get("/v1/peers")["items"]
    check(len(peers) == 1, f"{company.name} should have one peer and has {len(peers)}")
    return peers[0]


def _spoken(words: Any) -> str:
    return words if isinstance(words, str) else " ".join(words)


def wait_for_the_link(story: Story) -> None:
    """The link comes up: TLS 1.3, both sides proven by their keys."""
    for company in story.companies:
        story.wait_until(f"the link of {company.name} coming up", lambda: _link_up(company))  # noqa: B023
        story.tell(company, f"link to {company.partner} is UP")


def _link_up(company: Company) -> bool:
    return bool(company.api.get(f"/v1/peers/{company.partner}").get("link") == "UP")


# --- feeds ------------------------------------------------------------------------------------------------------


def publish_the_station(story: Story) -> None:
    """The CSO publishes its station and its price."""
    at_ms = now_ms()
    for feed, one in (("locations", objects.location(at_ms)), ("tariffs", objects.tariff(at_ms))):
        story.cso.api.need("PUT", f"/v1/{feed}/{one['id']}", one)
        _see_mirrored(story, story.csp, feed, one["id"], one)
    news = objects.evse_news(now_ms(), "CHARGING")
    story.cso.api.need("PATCH", f"/v1/locations/{LOCATION_ID}/evses/{EVSE_UID}", news)
    story.wait_until("the EVSE's new status arriving", lambda: _evse_status(story.csp) == "CHARGING")
    story.tell(story.csp, f"EVSE {EVSE_UID} went from AVAILABLE to CHARGING")


def publish_the_whitelist(story: Story) -> None:
    """The CSP publishes its whitelist."""
    one = LISTED_DRIVER.user_credential(now_ms())
    story.csp.api.need("PUT", f"/v1/user-credentials/{one['uid']}", one)
    _see_mirrored(story, story.cso, "user-credentials", one["uid"], one)


def _see_mirrored(story: Story, follower: Company, feed: str, object_id: str, published: Any) -> None:
    path = f"/v1/peers/{follower.partner}/{feed}/{object_id}"
    mirrored = story.wait_until(f"{feed} {object_id} arriving", lambda: follower.api.find(path))
    check(mirrored == published, f"{feed} {object_id} arrived changed")
    story.counts["objects"] += 1
    shown = "a user credential" if feed == "user-credentials" else f"{feed}/{object_id}"
    story.tell(follower, f"has {shown} from {follower.partner}, as it was published")


def _evse_status(company: Company) -> Any:
    location = company.api.get(f"/v1/peers/{company.partner}/locations/{LOCATION_ID}")
    return location["evses"][0]["status"]


# --- drivers ----------------------------------------------------------------------------------------------------


def authorize_live(story: Story) -> None:
    """A driver shows a card that the CSO never saw: the CSP's backend is asked."""
    answer = _authorize(story, LIVE_DRIVER)
    check(answer["source"] == "BACKEND", f"the answer came from {answer['source']}, not from the CSP's backend")
    asked = story.csp.backend.asked()
    check(len(asked) == 1, f"the CSP's backend was asked {len(asked)} times, not once")
    story.reference = answer.get("authorization_reference")
    story.tell(story.csp, f"its backend was asked once and gave the reference {story.reference}")


def authorize_from_the_whitelist(story: Story) -> None:
    """A driver from the whitelist: nobody is asked."""
    answer = _authorize(story, LISTED_DRIVER)
    check(answer["source"] == "WHITELIST", f"the answer came from {answer['source']}, not from the whitelist")
    check(len(story.csp.backend.asked()) == 1, "the CSP's backend was asked about a driver on the whitelist")


def _authorize(story: Story, driver: objects.Driver) -> Any:
    place = {"location_id": LOCATION_ID, "evse_uid": EVSE_UID, "connector_id": objects.CONNECTOR_ID}
    question = {"credential": driver.credential(), "location": place, "deadline_ms": 5000}
    answer = story.cso.api.need("POST", "/v1/authorizations", question)
    check(answer["decision"] == "ALLOWED", f"{driver.name} got {answer['decision']} ({answer.get('reason')})")
    story.counts["authorizations"] += 1
    took = f"{answer['elapsed_ms']:.1f} ms"
    story.tell(story.cso, f"{driver.name}: ALLOWED, source {answer['source']}, {took}")
    return answer


# --- a charge and its bill --------------------------------------------------------------------------------------


def follow_a_session(story: Story) -> None:
    """The session is followed to its end."""
    started = objects.session(SESSION_ID, LIVE_DRIVER, story.reference, now_ms())
    story.cso.api.need("PUT", f"/v1/sessions/{SESSION_ID}", started)
    _see_session(story, "ACTIVE", 0.0)
    for kwh, ended in ((7.5, False), (20.0, True)):
        news = objects.session_news(now_ms(), kwh, ended=ended)
        story.cso.api.need("PATCH", f"/v1/sessions/{SESSION_ID}", news)
        _see_session(story, "COMPLETED" if ended else "ACTIVE", kwh)
    story.counts["objects"] += 1


def _see_session(story: Story, status: str, kwh: float) -> None:
    def arrived() -> bool:
        session = story.csp.api.find(f"/v1/peers/{story.csp.partner}/sessions/{SESSION_ID}")
        return bool(session and session["status"] == status and session["kwh"] == kwh)

    story.wait_until(f"the session being seen {status} with {kwh} kWh", arrived)
    story.tell(story.csp, f"session {SESSION_ID}: {status}, {kwh} kWh")


def settle_one_cdr(story: Story) -> None:
    """Its bill is handed in, delivered, and receipted."""
    bill = objects.cdr(FIRST_CDR, LIVE_DRIVER, now_ms(), session_id=SESSION_ID, reference=story.reference)
    taken = story.cso.api.need("POST", "/v1/records", bill)
    check(taken["peer"] == story.cso.partner, f"the CDR went to {taken['peer']}, not to {story.cso.partner}")
    story.tell(story.cso, f"handed in {FIRST_CDR}: {taken['state']}")
    _see_receipts(story, (FIRST_CDR,))
    _see_received(story, (FIRST_CDR,))


def _see_receipts(story: Story, record_ids: Sequence[str]) -> None:
    def receipted() -> bool:
        return all(_state(story.cso, record_id) in RECEIPTED for record_id in record_ids)

    story.wait_until(f"the receipt for {_named(record_ids)}", receipted)
    story.counts["receipted"] += len(record_ids)
    story.tell(story.cso, f"holds the CSP's signed receipt for {_named(record_ids)}")


def _state(company: Company, record_id: str) -> Any:
    return company.api.get(f"/v1/records/{record_id}")["state"]


def _see_received(story: Story, record_ids: Sequence[str]) -> None:
    """The CSP's backend reads its events: each of these records came exactly once."""

    def received() -> Counter[str]:
        events = story.csp.api.items("/v1/events?limit=1000")
        return Counter(event["data"]["record_id"] for event in events if event["type"] == "record.received")

    story.wait_until(f"{_named(record_ids)} in the CSP's events", lambda: set(record_ids) <= set(received()))
    counted = received()
    twice = [record_id for record_id in record_ids if counted[record_id] != 1]
    check(not twice, f"the CSP got {_named(twice)} more than once")
    story.counts["records"] += len(record_ids)
    story.tell(story.csp, f"has {_named(record_ids)}, {'each ' if len(record_ids) > 1 else ''}once")


def _named(record_ids: Sequence[str]) -> str:
    return record_ids[0] if len(record_ids) == 1 else f"{len(record_ids)} CDRs"


# --- death and return -------------------------------------------------------------------------------------------


def kill_the_csp(story: Story) -> None:
    """The CSP's daemon is killed."""
    story.csp.daemon.kill()
    story.tell(story.csp, "SIGKILL: no goodbye, nothing flushed")


def hand_in_ten_cdrs(story: Story) -> None:
    """Ten bills are handed in while the CSP is dead."""
    ended_ms = now_ms()
    bills = [objects.cdr(cdr_id, LISTED_DRIVER, ended_ms) for cdr_id in TEN_CDRS]
    taken = story.cso.api.need("POST", "/v1/records", bills)
    states = Counter(one["state"] for one in taken)
    check(states == {"QUEUED": len(bills)}, f"the ten CDRs should be QUEUED and are {dict(states)}")
    story.tell(story.cso, f"handed in {len(bills)} CDRs: all QUEUED, on disk, safe")


def bring_the_csp_back(story: Story) -> None:
    """The CSP's daemon comes back, and has all ten, once."""
    story.csp.daemon.start()
    story.csp.daemon.wait_ready(story.patience_s)
    story.tell(story.csp, "ready again")
    wait_for_the_link(story)
    _see_receipts(story, TEN_CDRS)
    _see_received(story, TEN_CDRS)


def verify_both_ledgers(story: Story) -> None:
    """Both sides verify every hash and signature."""
    for company in story.companies:
        company.daemon.run("ledger", "verify")
        story.counts["ledgers"] += 1
        story.tell(company, "`roamd ledger verify`: every hash, commitment and signature holds")


STEPS: tuple[Callable[[Story], None], ...] = (
    found_two_companies,
    start_both_daemons,
    find_each_other,
    pair_by_invitation,
    wait_for_the_link,
    publish_the_station,
    publish_the_whitelist,
    authorize_live,
    authorize_from_the_whitelist,
    show_a_strange_card,
    follow_a_session,
    settle_one_cdr,
    start_from_the_app,
    stop_from_the_app,
    reserve_from_the_app,
    grant_two_drivers,
    kill_the_csp,
    start_on_a_grant,
    hand_in_ten_cdrs,
    bring_the_csp_back,
    verify_both_ledgers,
)

FULL_STEPS: tuple[Callable[[Story], None], ...] = (
    sign_terms,
    overcharge,
    credit_and_replace,
    prove_it,
    sign_the_month,
    join_a_clearing_house,
    introduce_them,
    pair_through_it,
    cross_sealed,
    look_into_the_house,
    alter_the_proof,
    mix_the_ways,
)


def tell_all(story: Story) -> None:
    """Go through all steps; raises whatever the first step that fails raises."""
    for step in (*STEPS, *FULL_STEPS) if story.full else STEPS:
        story.timeline.heading((step.__doc__ or step.__name__).rstrip("."))
        step(story)
