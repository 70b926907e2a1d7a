"""Who may charge, and on whose word: the one table by which the visited-CSO decides.

What is known of an authorization is boiled down to seven facts, and the first row of `TABLE` that fits them says what
to do. The table is asked up to three times: at the beginning (nobody was asked yet), when the patience with those that
were asked is over, and at the end (all have spoken, or the time is up). `roaming.authorization.visited` gathers the
facts and carries out what the row says; it decides nothing by itself. The same table, for readers, stands in
`roaming/authorization/README.md`; what it makes of the facts in `tests/vectors/decisions.json`.

The rules are OCPI's (whitelist types, tokens) where it has any. Beyond it:

- what the home-CSP says live is never beaten by what it said before;
- without an answer a permission may be given once the patience is over; a refusal waits for the deadline;
- a listing or grant counts without an answer only if *its* CSP was silent: whoever has spoken has said all;
- a card that is listed as blocked has no use of an older grant, and with a revoked grant none of an older listing.
"""

from typing import Final, NamedTuple

from roamd.model.credentials import Source

ANY: Final = "-"
ASK, WAIT, ANSWER = "ask", "wait", "answer"


class Facts(NamedTuple):
    """What is known, each one of the words in `DOMAIN`.

    `when`: "first" nobody was asked yet; "patience" those that were asked have had their time; "last" nobody will say
    more. `told`, live: "nothing" yet; a "permission"; a "refusal" of one that knows the card; "unknown" by all who were
    asked; "silence" of at least one, while none knows the card; "nobody" is there to be asked.
    `reservation` of the place: this driver's "own", of the same driver "group", of "others".
    `grant`: a signed one whose limits hold, which counts "at-once" or "offline"; "revoked" when none holds any more.
    `listing`: the whitelist type of the one that counts; "unsure" where two CSPs list the card; `valid` is its word.
    `offline`: whether the operator lets anyone in without an answer.
    """

    when: str
    told: str
    reservation: str
    grant: str
    listing: str
    valid: str
    offline: str


DOMAIN: Final[dict[str, tuple[str, ...]]] = {
    "when": ("first", "patience", "last"),
    "told": ("nothing", "permission", "refusal", "unknown", "silence", "nobody"),
    "reservation": ("none", "own", "group", "others"),
    "grant": ("none", "at-once", "offline", "revoked"),
    "listing": ("none", "unsure", "ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER"),
    "valid": ("yes", "no", "unknown"),
    "offline": ("yes", "no"),
}


class Row(NamedTuple):
    """A row: for each fact the words that fit, separated by a blank, or ANY; then what to do.

    `then` is "ask", "wait" for those that were asked, "answer" (take what was said live), or the decision itself, whose
    `source` and `reason` these are.
    """

    number: int
    facts: Facts
    then: str
    source: Source | None
    reason: str


def _rows(*rows: tuple[str, str, str, str, str, str, str, str, Source | None, str]) -> tuple[Row, ...]:
    return tuple(Row(number, Facts(*cells[:7]), *cells[7:]) for number, cells in enumerate(rows, 1))


_LISTED: Final = "ALWAYS ALLOWED ALLOWED_OFFLINE"
_GRANTED: Final = "at-once offline"
_LISTS, _SILENT = "as its home-CSP lists it", "no answer"
_LISTS_SILENT = "no answer; its home-CSP's whitelist decides"
_GRANTS_SILENT = "no answer; its home-CSP has granted it"
_RESERVED_SILENT = "no answer; the place is reserved for it"
_REVOKED_SILENT = "no answer, and its grant is revoked"

TABLE: Final = _rows(
    ("-", "-", "others", "-", "-", "-", "-", "NOT_ALLOWED", "POLICY", "the place is reserved for another driver"),
    ("first", "-", "-", "at-once", "-", "yes unknown", "-", "ALLOWED", "GRANT", "as its home-CSP has granted"),
    ("first", "-", "-", "revoked", "-", "-", "-", ASK, None, ""),
    ("first", "-", "-", "-", "ALWAYS", "yes", "-", "ALLOWED", "WHITELIST", _LISTS),
    ("first", "-", "-", "-", "ALWAYS", "no", "-", "BLOCKED", "WHITELIST", _LISTS),
    ("first", "-", "-", "-", "ALLOWED", "yes", "-", "ALLOWED", "WHITELIST", _LISTS),
    ("first", "-", "-", "-", "-", "-", "-", ASK, None, ""),
    ("-", "permission refusal", "-", "-", "-", "-", "-", ANSWER, None, ""),
    ("last", "unknown", "-", "-", "-", "-", "-", ANSWER, None, ""),
    ("last", "nobody", "-", "-", "-", "-", "-", "UNKNOWN", "POLICY", "no home-CSP is known for this credential"),
    ("patience", "-", "-", "-", "-", "-", "no", WAIT, None, ""),
    ("last", "-", "-", "-", "-", "-", "no", "NOT_ALLOWED", "POLICY", _SILENT),
    ("-", "silence", "-", _GRANTED, "-", "yes unknown", "-", "ALLOWED", "GRANT", _GRANTS_SILENT),
    ("patience", "-", "-", "revoked", "-", "-", "-", WAIT, None, ""),
    ("last", "-", "-", "revoked", "-", "-", "-", "NOT_ALLOWED", "POLICY", _REVOKED_SILENT),
    ("-", "silence", "-", "-", _LISTED, "yes", "-", "ALLOWED", "WHITELIST", _LISTS_SILENT),
    ("-", "silence", "own", "-", "-", "yes unknown", "-", "ALLOWED", "POLICY", _RESERVED_SILENT),
    ("patience", "-", "-", "-", "-", "-", "-", WAIT, None, ""),
    ("last", "silence", "-", "-", _LISTED, "no", "-", "BLOCKED", "WHITELIST", _LISTS_SILENT),
    ("last", "-", "-", "-", "-", "-", "-", "NOT_ALLOWED", "POLICY", _SILENT),
)  # fmt: skip


def decide(facts: Facts) -> Row:
    """The first row that fits. KeyError when a fact is not one of its words."""
    row = _known.get(facts)
    if row is None:
        row = _known[facts] = _first_fit(facts)
    return row


_known: Final[dict[Facts, Row]] = {}
"""What was looked up before; there are only some thousand different facts."""


def _first_fit(facts: Facts) -> Row:
    for name, word in facts._asdict().items():
        if word not in DOMAIN[name]:
            raise KeyError(f"{name} {word}")
    return next(row for row in TABLE if all(map(_fits, row.facts, facts)))


def _fits(cell: str, word: str) -> bool:
    return cell == ANY or word in cell.split()
