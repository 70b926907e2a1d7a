"""The one decision table: what it says, that nothing is left open, and that the published copies are the same."""

import itertools
import json
from pathlib import Path

import pytest

from roamd.model.credentials import DECISIONS, WAYS
from roamd.model.decision import ANSWER, ANY, ASK, DOMAIN, TABLE, WAIT, Facts, decide

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = [Facts(*words) for words in itertools.product(*DOMAIN.values())]


def facts(when: str, told: str = "silence", **known: str) -> Facts:
    """Facts of a card that nothing is known of, but for what is named."""
    usual = {"reservation": "none", "grant": "none", "listing": "none", "valid": "unknown", "offline": "yes"}
    return Facts(when, told, **{**usual, **known})


def test_every_combination_of_facts_has_a_row_and_every_row_is_needed() -> None:
    assert {decide(known).number for known in EVERYTHING} == {row.number for row in TABLE}


def test_a_row_asks_waits_takes_the_answer_or_decides_with_source_and_reason() -> None:
    for row in TABLE:
        assert row.then in {ASK, WAIT, ANSWER, *DECISIONS}
        assert (row.source is not None) == bool(row.reason) == (row.then in DECISIONS)
        for name, cell in row.facts._asdict().items():
            assert cell == ANY or set(cell.split()) <= set(DOMAIN[name])


def test_the_beginning_never_waits_the_end_never_asks_and_nothing_is_decided_before_anyone_could_speak() -> None:
    for known in EVERYTHING:
        then = decide(known).then
        assert then != {"first": WAIT, "patience": ASK, "last": ASK}[known.when], known
        assert then != WAIT or known.when == "patience", known


@pytest.mark.parametrize("told", ["permission", "refusal"])
def test_what_is_said_live_is_never_beaten_by_what_was_said_before(told: str) -> None:
    for known in EVERYTHING:
        if known.told == told and known.when != "first" and known.reservation != "others":
            assert decide(known).then == ANSWER, known


def test_while_patience_lasts_out_only_permissions_are_given_without_an_answer() -> None:
    for known in EVERYTHING:
        if known.when == "patience" and known.told == "silence" and known.reservation != "others":
            assert decide(known).then in {"ALLOWED", WAIT}, known


def test_where_the_operator_forbids_it_nobody_is_let_in_without_an_answer() -> None:
    for known in EVERYTHING:
        if known.offline == "no" and known.when != "first":
            assert decide(known).then != "ALLOWED", known


def test_a_card_that_is_listed_as_blocked_is_let_in_by_its_home_alone() -> None:
    for known in EVERYTHING:
        if known.valid == "no" and known.listing not in ("none", "unsure"):
            assert decide(known).then != "ALLOWED", known


def test_a_revoked_grant_lets_nobody_in_and_takes_an_older_listing_with_it() -> None:
    for known in EVERYTHING:
        if known.grant == "revoked":
            assert decide(known).then != "ALLOWED", known


def test_a_place_that_is_reserved_for_others_is_refused_whatever_anyone_says() -> None:
    for known in EVERYTHING:
        if known.reservation == "others":
            assert (decide(known).then, decide(known).source) == ("NOT_ALLOWED", "POLICY")


def test_the_driver_group_may_use_a_reservation_and_has_no_permission_by_it() -> None:
    assert decide(facts("first", "nothing", reservation="group")).then == ASK
    assert decide(facts("last", reservation="group")).then == "NOT_ALLOWED"
    assert decide(facts("last", reservation="own")).then == "ALLOWED"


@pytest.mark.parametrize(
    ("listing", "valid", "first", "patience", "last"),
    [
        ("ALWAYS", "yes", "ALLOWED", "ALLOWED", "ALLOWED"),
        ("ALWAYS", "no", "BLOCKED", WAIT, "BLOCKED"),
        ("ALLOWED", "yes", "ALLOWED", "ALLOWED", "ALLOWED"),
        ("ALLOWED", "no", ASK, WAIT, "BLOCKED"),
        ("ALLOWED_OFFLINE", "yes", ASK, "ALLOWED", "ALLOWED"),
        ("ALLOWED_OFFLINE", "no", ASK, WAIT, "BLOCKED"),
        ("NEVER", "yes", ASK, WAIT, "NOT_ALLOWED"),
        ("NEVER", "no", ASK, WAIT, "NOT_ALLOWED"),
        ("unsure", "unknown", ASK, WAIT, "NOT_ALLOWED"),
        ("none", "unknown", ASK, WAIT, "NOT_ALLOWED"),
    ],
)
def test_the_whitelist_type_says_when_the_list_counts(
    listing: str, valid: str, first: str, patience: str, last: str
) -> None:
    given = {"listing": listing, "valid": valid}
    assert decide(facts("first", "nothing", **given)).then == first
    assert decide(facts("patience", **given)).then == patience
    assert decide(facts("last", **given)).then == last


@pytest.mark.parametrize(
    ("grant", "first", "patience", "last"),
    [
        ("at-once", "ALLOWED", "ALLOWED", "ALLOWED"),
        ("offline", ASK, "ALLOWED", "ALLOWED"),
        ("revoked", ASK, WAIT, "NOT_ALLOWED"),
    ],
)
def test_a_grant_says_when_it_counts(grant: str, first: str, patience: str, last: str) -> None:
    assert decide(facts("first", "nothing", grant=grant)).then == first
    assert decide(facts("patience", grant=grant)).then == patience
    assert decide(facts("last", grant=grant)).then == last


def test_a_word_that_is_no_fact_is_refused() -> None:
    with pytest.raises(KeyError, match="listing SOMETIMES"):
        decide(facts("first", "nothing", listing="SOMETIMES"))


# --- the published copies ---------------------------------------------------------------------------------------


def test_the_documented_table_is_the_codes() -> None:
    text = (ROOT / "roamd" / "roaming" / "authorization" / "README.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    written = [cells for cells in lines if len(cells) == 11 and cells[0].isdigit()]
    assert written == [[str(row.number), *row.facts, row.then, row.source or ANY, row.reason or ANY] for row in TABLE]


def test_the_documented_ways_to_identify_are_the_codes() -> None:
    text = (ROOT / "roamd" / "roaming" / "authorization" / "README.md").read_text(encoding="utf-8")
    for way in WAYS.values():
        listed, granted = ("yes" if counts else "no" for counts in (way.listed, way.granted))
        assert f"| {way.type} | {way.means} | {listed} | {granted} |" in text


def test_the_published_vectors_are_what_the_table_says() -> None:
    published = json.loads((ROOT / "tests" / "vectors" / "decisions.json").read_text(encoding="utf-8"))
    assert published["columns"] == [*DOMAIN, "then", "source", "row"]
    cases = published["cases"]
    for *words, then, source, number in cases:
        row = decide(Facts(*words))
        assert (row.then, row.source, row.number) == (then, source, number), words
    assert {case[-1] for case in cases} == {row.number for row in TABLE}
