"""One name, several keys: each is named by the one before, and signs that it takes the name."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from roamd.errors import ConfigError, NotTrusted
from roamd.trust.documents import pack
from roamd.trust.endpoint import endpoint_id
from roamd.trust.identity import Identity, spki
from roamd.trust.signing import ALGORITHM
from roamd.trust.succession import (
    MAX_STEPS,
    MAX_SUCCESSION,
    Step,
    Succession,
    appoint,
    as_text,
    key_id,
    load_identity,
    read_succession,
    statement,
    succession_of_own,
)
from tests.support.trust import identity, real_now_ms, with_one_bit_changed

MADE, UNTIL = 1_000_000, 2_000_000
FIRST, SECOND, THIRD = identity(10), identity(11), identity(12)


def announced(old: Identity, new: Identity) -> Succession:
    return appoint(old, new, MADE, UNTIL)


def switched(old: Identity, new: Identity) -> Identity:
    """The new identity as it is loaded after the switch."""
    succession = announced(old, new)
    return replace(new, endpoint_id=succession.endpoint_id, succession=succession.packed())


def reason(data: bytes, in_use: bytes) -> str:
    with pytest.raises(NotTrusted) as caught:
        read_succession(data, in_use)
    return caught.value.reason


def forged(document: str, old: Identity, new: Identity) -> bytes:
    signed = document.encode()
    step = Step(document, old.sign(signed), new.sign(signed), new.certificate_der)
    return Succession(FIRST.endpoint_id, (FIRST.certificate_der, new.certificate_der), (step,)).packed()


def test_an_identity_that_never_had_another_has_nothing_to_tell() -> None:
    sole = read_succession(b"", FIRST.certificate_der)
    assert (sole.endpoint_id, sole.current, sole.packed()) == (FIRST.endpoint_id, FIRST.certificate_der, b"")
    assert sole.taken(UNTIL + 1) == (FIRST.certificate_der,)


def test_the_name_stays_that_of_the_first_key() -> None:
    third = switched(switched(FIRST, SECOND), THIRD)
    succession = succession_of_own(third)
    assert succession.endpoint_id == third.endpoint_id == FIRST.endpoint_id
    assert succession.certificates == tuple(each.certificate_der for each in (FIRST, SECOND, THIRD))
    assert succession.in_use == 2
    assert read_succession(succession.packed(), THIRD.certificate_der) == succession


def test_while_it_is_announced_the_old_key_is_in_use_and_either_is_taken() -> None:
    succession = announced(FIRST, SECOND)
    assert succession.current == FIRST.certificate_der
    assert succession.announced is not None
    assert succession.taken(UNTIL + 1) == (FIRST.certificate_der, SECOND.certificate_der)


def test_once_it_is_replaced_the_old_key_is_taken_to_the_end_of_the_overlap() -> None:
    succession = succession_of_own(switched(FIRST, SECOND))
    assert succession.announced is None
    assert succession.taken(UNTIL) == (SECOND.certificate_der, FIRST.certificate_der)
    assert succession.taken(UNTIL + 1) == (SECOND.certificate_der,)


def test_what_was_said_once_is_not_taken_back() -> None:
    one, two = announced(FIRST, SECOND), succession_of_own(switched(FIRST, SECOND))
    other = announced(FIRST, THIRD)
    assert two.follows(one)
    assert one.follows(one)
    assert not one.follows(two)
    assert not Succession.sole(FIRST.endpoint_id, FIRST.certificate_der).follows(one)
    assert other.contradicts(one)
    assert not other.follows(one)
    assert not two.contradicts(one)


def test_only_the_same_keys_at_the_same_numbers_are_shared() -> None:
    third = succession_of_own(switched(switched(FIRST, SECOND), THIRD))
    assert third.shared(third) == 2
    assert third.shared(announced(FIRST, SECOND)) == announced(FIRST, SECOND).shared(third) == 1
    assert third.shared(announced(FIRST, THIRD)) == 0
    assert third.shared(Succession.sole(SECOND.endpoint_id, SECOND.certificate_der)) == 0


def test_every_changed_bit_is_found() -> None:
    data = announced(FIRST, SECOND).packed()
    for changed in list(with_one_bit_changed(data))[::7]:
        with pytest.raises(NotTrusted):
            read_succession(changed, FIRST.certificate_der)


def test_both_keys_must_have_signed() -> None:
    document = announced(FIRST, SECOND).steps[0].document
    assert reason(forged(document, THIRD, SECOND), FIRST.certificate_der) == "bad-signature"
    step = announced(FIRST, SECOND).steps[0]
    stolen = Succession(
        FIRST.endpoint_id,
        (FIRST.certificate_der, SECOND.certificate_der),
        (replace(step, by_new=FIRST.sign(document.encode())),),
    )
    assert reason(stolen.packed(), FIRST.certificate_der) == "bad-signature"


def words(**changes: object) -> str:
    """A statement as `appoint` makes it, with some words changed."""
    said = {"what": "roamd", "kind": "successor", "version": "1", "name": FIRST.endpoint_id, "number": 1,
            "old": key_id(FIRST.certificate_der), "new": key_id(SECOND.certificate_der), "made": MADE,
            "until": UNTIL} | changes  # fmt: skip
    return " ".join(str(word) for word in said.values())


def test_the_words_of_these_tests_are_those_of_a_statement() -> None:
    assert words() == announced(FIRST, SECOND).steps[0].document


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "2"},
        {"name": SECOND.endpoint_id},
        {"number": 2},
        {"number": "01"},
        {"old": key_id(THIRD.certificate_der)},
        {"new": key_id(THIRD.certificate_der)},
        {"made": UNTIL},
        {"made": "1e3"},
        {"until": "²"},
        {"until": f"{UNTIL} more"},
    ],
)
def test_a_statement_that_says_anything_else_is_refused_though_both_signed(changes: dict[str, object]) -> None:
    assert reason(forged(words(**changes), FIRST, SECOND), FIRST.certificate_der) == "bad-successor"


def test_a_key_neither_newest_nor_the_one_before_it_is_not_in_use() -> None:
    data = succession_of_own(switched(switched(FIRST, SECOND), THIRD)).packed()
    assert reason(data, FIRST.certificate_der) == "bad-successor"
    assert reason(data, identity(13).certificate_der) == "bad-successor"


def test_no_key_comes_back() -> None:
    second = switched(FIRST, SECOND)
    assert reason(announced(second, FIRST).packed(), FIRST.certificate_der) == "bad-successor"


@pytest.mark.parametrize("steps", [0, MAX_STEPS + 1])
def test_a_succession_has_a_bounded_number_of_steps(steps: int) -> None:
    assert reason(pack([FIRST.certificate_der, steps, *[b""] * steps]), FIRST.certificate_der) == "malformed"


def test_another_algorithm_is_not_guessed_at() -> None:
    step = announced(FIRST, SECOND).steps[0]
    packed = pack([ALGORITHM + "x", step.document, step.by_old, step.by_new, step.certificate_der])
    assert reason(pack([FIRST.certificate_der, 1, packed]), FIRST.certificate_der) == "unknown-algorithm"


def test_as_many_as_there_may_be_fit() -> None:
    present = FIRST
    for number in range(MAX_STEPS):
        present = switched(present, identity(20 + number))
    assert len(present.succession) < MAX_SUCCESSION
    assert succession_of_own(present).in_use == MAX_STEPS
    with pytest.raises(ValueError, match="cannot have that successor"):
        announced(present, identity(30))


def test_a_second_successor_is_not_made_while_one_is_announced() -> None:
    waiting = replace(FIRST, succession=announced(FIRST, SECOND).packed())
    with pytest.raises(ValueError, match="cannot have that successor"):
        announced(waiting, THIRD)


# --- files ------------------------------------------------------------------------------------------------------


def saved(where: Path, identity: Identity, text: str | None) -> tuple[Path, Path, Path]:
    paths = (where / "identity.key", where / "identity.crt", where / "identity.succession")
    identity.save(*paths[:2])
    if text is not None:
        paths[2].write_text(text)
    return paths


def test_files_of_a_replaced_identity_are_read_under_the_first_name(tmp_path: Path) -> None:
    second = switched(FIRST, SECOND)
    loaded = load_identity(*saved(tmp_path, second, as_text(succession_of_own(second))))
    assert (loaded.endpoint_id, loaded.certificate_der) == (FIRST.endpoint_id, SECOND.certificate_der)
    assert succession_of_own(loaded).in_use == 1


def test_without_the_file_it_is_the_first(tmp_path: Path) -> None:
    assert load_identity(*saved(tmp_path, FIRST, None)).endpoint_id == FIRST.endpoint_id


@pytest.mark.parametrize("text", ["", "garbage!", as_text(announced(FIRST, SECOND))])
def test_a_file_that_does_not_lead_to_the_key_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="does not lead to"):
        load_identity(*saved(tmp_path, Identity.create(real_now_ms()), text))


def test_the_vectors_are_what_an_auditor_with_two_public_keys_finds() -> None:
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "successors.json").read_text())
    for number, step in enumerate(vectors["statements"], 1):
        ids = []
        for which, by in (("old_key", "by_old"), ("new_key", "by_new")):
            key = serialization.load_pem_public_key(step[which].encode())
            assert isinstance(key, ec.EllipticCurvePublicKey)
            key.verify(bytes.fromhex(step[by]), step["document"].encode(), ec.ECDSA(hashes.SHA256()))
            ids.append(endpoint_id(spki(key)))
        said = step["document"].split(" ")
        times_ms = (int(said[7]), int(said[8]))
        assert step["document"] == statement(vectors["endpoint_id"], number, (ids[0], ids[1]), times_ms)
