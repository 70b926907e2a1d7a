"""The third part of the story (`--full`): a clearing house between two companies that cannot dial each other.

A car park and a taxi company know no address of each other: both only dial, as from behind NAT. On one machine that is
all that keeps them apart, and it is enough: nobody can dial whom he has no address of. The clearing house is a third
company's roamd. It introduces the two, carries the invitation and then what they exchange, and learns who, when and
how much; that it learns no more is looked up in its memory, its database and its log.
"""

import json
from collections import Counter
from typing import Any

from roamd.demo import objects
from roamd.demo.cast import Company, Story, found
from roamd.demo.checks import check, now_ms
from roamd.demo.objects import MIXED_CDR, SEALED_CDR, TAXI_DRIVER
from roamd.demo.spying import relayed

SETTINGS = "[discovery]\nmdns = false\nintroduce = true\n"
"""No mDNS, so that what is seen is what was introduced; and the consent to be introduced, which is off by default."""


def join_a_clearing_house(story: Story) -> None:
    """A car park and a taxi company that nobody can dial join a clearing house."""
    names = objects.HOUSE_NAME, objects.PARK_NAME, objects.TAXI_NAME
    parties = objects.HOUSE_PARTY, objects.PARK_PARTY, objects.TAXI_PARTY
    story.house = found(story, "clearing-house", names[0], parties[0], directory="hub", backend=False)
    story.park = found(story, "cso", names[1], parties[1], directory="park", backend=False, advertise=False)
    story.taxi = found(story, "csp", names[2], parties[2], directory="taxi", advertise=False)
    companies = (story.house, story.park, story.taxi)
    for company in companies:
        _configure(company, SETTINGS)
        company.daemon.start()
    for company in companies:
        company.daemon.wait_ready(story.patience_s)
    for company in (story.park, story.taxi):
        line = story.house.daemon.run("invite", "--auto").out.strip()
        company.daemon.run("pair", line)
        _wait_for_link(story, company, story.house)
        reach = company.api.get("/v1/status")["reach"]
        check(reach == "dial-only", f"{company.name} should be dial-only and is {reach}")
        story.tell(company, f"`roamd status`: {reach}; it dialled {_label(company, story.house)}, and that link is UP")


def introduce_them(story: Story) -> None:
    """The clearing house introduces the two to each other; they trust nobody for it."""
    for company in (story.park, story.taxi):
        story.house.daemon.run("peers", "introduce", _label(story.house, company), "on")
    for company, other in ((story.park, story.taxi), (story.taxi, story.park)):
        seen = story.wait_until(f"{company.name} seeing {other.name}", lambda: _introduced(company, other))  # noqa: B023
        voucher = ", ".join(seen["vouched_by"])
        check(voucher == _label(company, story.house), f"{other.name} is vouched for by {voucher or 'nobody'}")
        check(not seen["addresses"] and company.named(other) is None, f"{company.name} could dial {other.name}")
        parties = ", ".join(seen["parties"])
        story.tell(company, f"`roamd candidates`: {other.name} ({parties}), vouched by {voucher}; no address, no trust")


def _introduced(company: Company, other: Company) -> Any:
    candidates = json.loads(company.daemon.run("candidates", "--json").out)["items"]
    return next((one for one in candidates if one["name"] == other.name), None)


def pair_through_it(story: Story) -> None:
    """They pair through it: the invitation names the clearing house in the place of an address."""
    via = _label(story.park, story.house)
    line = story.park.daemon.run("invite", "--via", via).out.strip()
    story.taxi.daemon.run("pair", line, expect=(75,))
    story.park.daemon.run("peers", "confirm", _label(story.park, story.taxi))
    story.tell(story.park, f"`roamd invite --via {via}`; {story.taxi.name} followed it, and was confirmed")
    pair = (story.park, story.taxi), (story.taxi, story.park)
    words = [_peer(company, other)["words"] for company, other in pair]
    check(words[0] and words[0] == words[1], f"the two sides show different words: {words}")
    story.tell(None, f"both operators read the same words: {words[0]}")
    for company, other in pair:
        _wait_for_routes(story, company, other, calls=via, ledger=via)
        story.tell(company, f"link to {_label(company, other)} is UP, through {via}")


def cross_sealed(story: Story) -> None:
    """A question and a bill go through it, sealed and signed end to end."""
    _authorize(story)
    _hand_in(story, SEALED_CDR)
    story.tell(story.park, f"holds {story.taxi.name}'s signed receipt for {SEALED_CDR}, which is there once")


def _authorize(story: Story) -> Any:
    question = {"credential": TAXI_DRIVER.credential(), "deadline_ms": 5000}
    answer = story.park.api.need("POST", "/v1/authorizations", question)
    outcome = (answer["decision"], answer["source"])
    check(outcome == ("ALLOWED", "BACKEND"), f"{TAXI_DRIVER.name} got {outcome} ({answer.get('reason')})")
    story.counts["authorizations"] += 1
    story.tell(story.park, f"{TAXI_DRIVER.name}: ALLOWED, source BACKEND, {answer['elapsed_ms']:.1f} ms")
    return answer


def _hand_in(story: Story, name: str) -> None:
    taken = story.park.api.need("POST", "/v1/records", objects.taxi_cdr(name, now_ms()))
    check(taken["peer"] == _label(story.park, story.taxi), f"{name} is {taken['state']} ({taken.get('reason')})")
    story.wait_until(f"the receipt for {name}", lambda: _state(story.park, name) == "DELIVERED")
    events = story.taxi.api.items("/v1/events?limit=1000")
    received = Counter(one["data"]["record_id"] for one in events if one["type"] == "record.received")
    check(received[name] == 1, f"{story.taxi.name} got {name} {received[name]} times")
    story.counts["records"] += 1
    story.counts["receipted"] += 1


def _state(company: Company, name: str) -> Any:
    return company.api.get(f"/v1/records/{name}")["state"]


def mix_the_ways(story: Story) -> None:
    """The car park gets an address: questions go directly from then on, bills still through the clearing house."""
    park = story.park
    _configure(park, f'{SETTINGS}\n[link]\nadvertise = "{park.daemon.link_address}"\n')
    park.daemon.stop()
    park.daemon.start()
    park.daemon.wait_ready(story.patience_s)
    story.tell(park, f"set link.advertise = {park.daemon.link_address}, and told {story.taxi.name} by the old way")
    for company, other in ((park, story.taxi), (story.taxi, park)):
        via = _label(company, story.house)
        ways = [f"--{function}={ways}" for function, ways in (("calls", f"direct,{via}"), ("ledger", via))]
        company.daemon.run("peers", "routes", _label(company, other), *ways)
        _wait_for_routes(story, company, other, calls="direct", ledger=via)
        story.tell(company, f"`roamd peers routes {_label(company, other)} {' '.join(ways)}`: both are UP")
    story.wait_until("a question that the clearing house sees nothing of", lambda: _asked_directly(story))
    before = _passed(story)
    _hand_in(story, MIXED_CDR)
    check(_passed(story) > before, f"{MIXED_CDR} did not go through {story.house.name}")
    (chain,) = [one for one in _peer(park, story.taxi)["chains"] if one["author"] == "us"]
    check((chain["entries"], chain["receipted"]) == (2, 2), f"the chain has {chain['entries']} entries")
    story.tell(park, f"{MIXED_CDR} went through {_label(park, story.house)}: entry 2 of the same chain, receipted")


def _asked_directly(story: Story) -> bool:
    """Whether the clearing house carried nothing meanwhile; a sign of life may fall into the same moment."""
    before = _passed(story)
    _authorize(story)
    return _passed(story) == before


def _passed(story: Story) -> int:
    return sum(envelopes for envelopes, _ in relayed(story.house).values())


# --- small things -----------------------------------------------------------------------------------------------


def _configure(company: Company, settings: str) -> None:
    file = company.daemon.directory / "conf.d" / "demo.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(settings)


def _label(company: Company, other: Company) -> str:
    """What a company calls another one that it is paired with."""
    peer = company.named(other)
    check(peer is not None, f"{company.name} is not paired with {other.name}")
    return str(peer["peer"])


def _peer(company: Company, other: Company) -> Any:
    return company.api.get(f"/v1/peers/{_label(company, other)}")


def _wait_for_link(story: Story, company: Company, other: Company) -> None:
    story.wait_until(f"the link of {company.name} coming up", lambda: _peer(company, other)["link"] == "UP")


def _wait_for_routes(story: Story, company: Company, other: Company, **wanted: str) -> None:
    def are_used() -> bool:
        now = {route["function"]: route["now"] for route in _peer(company, other)["routes"]}
        return now | wanted == now

    story.wait_until(f"{company.name} reaching {other.name} by {wanted}", are_used)
