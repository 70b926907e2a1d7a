"""The agreement as a document: its clauses, its one form, and what it means for either side."""

import base64
import contextlib
import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import Malformed
from roamd.model import agreementdocument as documents
from roamd.model.agreement import Agreement, not_agreed, preset
from roamd.model.agreementdocument import AgreementDocument, document_of, next_number, projected, read_document
from roamd.model.clauses import (
    CLAUSES,
    LISTS,
    Clauses,
    changed_by,
    clauses_of,
    differences,
    faults_of,
    with_preset_rights,
)
from roamd.protocol.ledger import AgreementDecision, AgreementProposal

CSO, CSP = "C" * 56, "D" * 56
OURS = preset(["cso"], ["csp"], ["FR*RMD"])
THEIRS = preset(["csp"], ["cso"], ["DE*ABC"])


def ours(**changes: Any) -> Clauses:
    """What the CSO proposes; a clause's dot is written as two underscores."""
    given = {name.replace("__", "."): value for name, value in changes.items()}
    return read(clauses_of(OURS, ["DEABC"]), given)


def read(
    clauses: Clauses,
    given: Mapping[str, Any],
    add: Mapping[str, Any] = MappingProxyType({}),
    remove: Mapping[str, Any] = MappingProxyType({}),
) -> Clauses:
    """The clauses as they are then; everything that is given can be read."""
    changed, faults = changed_by(clauses, given, add, remove)
    assert faults == []
    return changed


def document(**changes: Any) -> AgreementDocument:
    return document_of(ours(**changes), 1, CSO, CSP)


def text_with(change: Any) -> bytes:
    """The document's text with something done to its tree."""
    tree = json.loads(document().text())
    change(tree)
    return json.dumps(tree, separators=(",", ":")).encode()


def test_the_preset_as_a_document_means_the_preset_for_both_sides() -> None:
    made = document()
    assert faults_of(ours()) == []
    for side, agreement in ((0, OURS), (1, THEIRS)):
        meant = projected(made, side, agreement)
        assert meant.number == 1
        assert msgspec.structs.replace(meant, number=None, terms=agreement.terms) == agreement


def test_what_stands_in_no_document_stays() -> None:
    before = msgspec.structs.replace(OURS, withheld={"sessions": ("kwh",)}, feeds_in=())
    meant = projected(document(), 0, before)
    assert meant.withheld == {"sessions": ("kwh",)}
    assert meant.feeds_in == OURS.feeds_in


def test_a_document_is_read_back_and_reads_the_same_from_both_sides() -> None:
    made = document(us__services="", tolerance="0.05", valid_until="2027-12-31T00:00:00Z")
    assert read_document(made.text()) == made
    near, far = documents.clauses(made, 0), documents.clauses(made, 1)
    assert near["us.services"] == far["them.services"] == ()
    assert near["tolerance"] == far["tolerance"] == Decimal("0.05")
    assert document_of(far, 1, CSP, CSO) == made, "either side writes the same bytes"


def test_settings_kept_by_an_older_version_are_read() -> None:
    assert Agreement.from_json(b'{"our_roles":[],"their_roles":[],"parties":[],"evse_prefixes":[],'
                               b'"contract_prefixes":[]}').number is None  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        document().text() + b" ",
        document().text().replace(b'"number":1', b'"number":1,"number":2'),
        text_with(lambda tree: tree.update(secret="clause")),
        text_with(lambda tree: tree.pop("valid_until")),
        text_with(lambda tree: tree.update(type="roamd agreement 2")),
        text_with(lambda tree: tree.update(number=0)),
        text_with(lambda tree: tree.update(tolerance=0.01)),
        text_with(lambda tree: tree.update(tolerance="-1")),
        text_with(lambda tree: tree.update(tolerance="1E+2")),
        text_with(lambda tree: tree.update(tolerance="NaN")),
        text_with(lambda tree: tree["sides"].reverse()),
        text_with(lambda tree: tree["sides"][1].update(endpoint_id=CSO)),
        text_with(lambda tree: tree["sides"][0].update(endpoint_id="short")),
        text_with(lambda tree: tree["sides"][0]["feeds"].append("weather")),
        text_with(lambda tree: tree["sides"][0]["feeds"].reverse()),
        text_with(lambda tree: tree["sides"][0].update(parties=["de*abc"])),
        text_with(lambda tree: tree["sides"][0].update(more=1)),
        text_with(lambda tree: tree["rounding"].update(mode="LUCKY")),
        text_with(lambda tree: tree.update(valid_from="tomorrow")),
        text_with(lambda tree: tree.update(valid_from="2026-02-30T00:00:00Z")),
        b"[" * 10_000,
        b'{"type":"' + b"x" * documents.MAX_DOCUMENT,
    ],
)
def test_what_is_not_in_the_one_form_is_no_document(text: bytes) -> None:
    with pytest.raises(Malformed):
        read_document(text)


@given(
    st.binary(max_size=300) | st.integers(0, 1200).map(lambda at: document().text()[:at] + document().text()[at + 1 :])
)
def test_any_bytes_are_a_document_or_malformed(text: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert read_document(text).text() == text


def test_numbers_are_odd_for_the_side_that_sorts_first() -> None:
    assert [next_number(highest, first=True) for highest in range(4)] == [1, 3, 3, 5]
    assert [next_number(highest, first=False) for highest in range(4)] == [2, 2, 4, 4]
    for number in range(1, 5):
        numbered = msgspec.structs.replace(document(), number=number)
        assert documents.writes_number(numbered, CSO) == (number % 2 == 1)
        assert documents.writes_number(numbered, CSP) == (number % 2 == 0)
        assert not documents.writes_number(numbered, "E" * 56)


# --- changing and checking --------------------------------------------------------------------------------------


def test_every_clause_that_cannot_be_read_is_named_at_once() -> None:
    changed, faults = changed_by(
        ours(),
        {"us.feeds": ["weather"], "tolerance": "-1", "them.parties": "nobody", "final_days": "soon", "wings": 2},
        {"tolerance": "1", "us.services": ["fly"]},
        {"records": "CDR"},
    )
    assert changed == ours(), "what cannot be read stays as it was"
    assert [(fault.path, fault.code) for fault in faults] == [
        ("us.feeds", "invalid"),
        ("tolerance", "invalid"),
        ("them.parties", "invalid"),
        ("final_days", "invalid"),
        ("wings", "unknown-clause"),
        ("tolerance", "no-list"),
        ("us.services", "invalid"),
        ("records", "unknown-clause"),
    ]


def test_names_are_added_to_lists_and_taken_from_them() -> None:
    changed = read(
        ours(), {}, {"currencies": "CHF,EUR", "us.parties": ["DE-XYZ"]}, {"them.services": "reserve, unlock-connector"}
    )
    assert changed["currencies"] == ("CHF", "EUR")
    assert changed["us.parties"] == ("DEABC", "DEXYZ")
    assert "reserve" in OURS.services_in
    assert set(OURS.services_in) - set(changed["them.services"]) == {"reserve", "unlock-connector"}


@pytest.mark.parametrize("value", [True, 1.5, None, "", "7 days", 0, 3661, [], {}])
def test_days_are_whole_numbers_within_ten_years(value: object) -> None:
    changed, faults = changed_by(ours(), {"dispute_days": value}, {}, {})
    assert (changed, [fault.path for fault in faults]) == (ours(), ["dispute_days"])


@pytest.mark.parametrize("name", sorted(CLAUSES))
@given(value=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
))  # fmt: skip
def test_whatever_is_given_for_a_clause_is_read_or_refused(name: str, value: Any) -> None:
    changed, faults = changed_by(ours(), {name: value}, {}, {})
    assert [fault.path for fault in faults] == [name] * len(faults)
    faults_of(changed)
    assert read_document(document_of(changed, 1, CSO, CSP).text()) is not None


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({"us__feeds": "grants"}, "us.feeds", "grants is between a csp and a cso, and the roles are cso and csp"),
        ({"them__services": "authorization"}, "them.services", "authorization is between a cso and a csp"),
        ({"them__records": "CDR"}, "them.records", "CDR is between a cso and a csp"),
        ({"us__parties": ""}, "us.parties", "names no party"),
        ({"them__parties": "FRRMD,DEABC"}, "them.parties", "DEABC is ours"),
        ({"final_days": 20}, "final_days", "less than dispute_days"),
        ({"dispute_above": "0.001"}, "dispute_above", "below tolerance"),
        ({"offline__cost": "50"}, "offline.cost", "exactly one"),
        ({"valid_from": "2027-01-01T00:00:00Z", "valid_until": "2027-01-01T00:00:00Z"}, "valid_until", "not after"),
    ],
)
def test_clauses_that_do_not_fit_together_are_named(changes: dict[str, Any], where: str, said: str) -> None:
    (fault,) = faults_of(ours(**changes))
    assert (fault.path, said in fault.message) == (where, True)


def test_without_a_role_nothing_that_it_is_for_fits() -> None:
    faults = faults_of(ours(us__roles=""))
    assert {fault.path for fault in faults} == {
        "us.roles", "us.feeds", "us.services", "us.records", "them.feeds", "them.services"
    }  # fmt: skip


def test_one_company_may_play_both_roles() -> None:
    assert faults_of(with_preset_rights(ours(us__roles="cso,csp", them__roles="csp,cso"))) == []


# --- comparing --------------------------------------------------------------------------------------------------


def test_a_comparison_says_in_words_what_changes_clause_by_clause() -> None:
    after = read(
        ours(dispute_days=45, currencies="EUR", dispute_above="1.50"),
        {},
        {"us.parties": "DEXYZ"},
        {"us.records": "SDR"},
    )
    assert [difference.words for difference in differences(ours(), after)] == [
        "us.parties: adds DEXYZ",
        "us.records: drops SDR",
        "currencies: adds EUR",
        "dispute_above: none becomes 1.50",
        "dispute_days: 30 becomes 45",
    ]
    assert differences(after, after) == []


def test_a_partner_of_before_a_new_row_gets_it_by_the_preset_rights() -> None:
    old = msgspec.structs.replace(OURS, services_in=("start-session",), feeds_out=("locations",))
    proposed = with_preset_rights(clauses_of(old, ["DEABC"]))
    assert proposed == ours()
    assert {difference.clause for difference in differences(clauses_of(old, ["DEABC"]), proposed)} == {
        "them.services", "us.feeds"
    }  # fmt: skip


def test_every_list_is_a_clause_and_a_tuple() -> None:
    assert {name for name, value in ours().items() if isinstance(value, tuple)} == LISTS


def test_a_refusal_names_the_clause_and_the_agreement() -> None:
    assert not_agreed(OURS, "services.reserve") == "not agreed: services.reserve (preset)"
    signed = projected(document(), 0, OURS)
    assert not_agreed(signed, "services.reserve") == "not agreed: services.reserve (agreement 1)"


# --- the vectors ------------------------------------------------------------------------------------------------

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "agreements.json").read_text(encoding="utf-8"))


def test_the_published_document_is_one_and_is_signed_by_both() -> None:
    """Read as a stranger would: with a JSON parser, a hash and the two public keys."""
    text = VECTORS["document"].encode()
    assert hashlib.sha256(text).hexdigest() == VECTORS["record_id"] == documents.digest_of(text)
    assert text.startswith(b'{"type":"roamd agreement 1",')
    proposed, accepted = json.loads(VECTORS["proposed"]), json.loads(VECTORS["accepted"])
    assert proposed["document"] == VECTORS["document"]
    for who, said in (("proposer", proposed), ("other", accepted)):
        key = load_pem_public_key(VECTORS[who]["public_key"].encode())
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(base64.b64decode(said["signature"]), text, ec.ECDSA(hashes.SHA256()))
    document = read_document(text)
    assert documents.writes_number(document, VECTORS["proposer"]["endpoint_id"])
    assert faults_of(documents.clauses(document, 0)) == []
    assert AgreementProposal.unpack(VECTORS["proposed"].encode()).signature == proposed["signature"]
    assert AgreementDecision.unpack(VECTORS["declined"].encode()).reason == "too long"
