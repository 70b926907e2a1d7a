"""Pseudonyms are contract ids like any other, and two keys give names that have nothing to do with each other."""

import json
from itertools import islice
from typing import Any

import pytest

from roamd.model.ids.contract import din_to_emi3, din_to_iso_legacy, parse_contract_id
from roamd.model.pseudonyms import contract_name, names_of, renamed, spelled, with_contract, with_renamed
from roamd.model.subjects import subject
from roamd.storage import pseudonyms
from roamd.storage.cx import Cx
from roamd.storage.store import Store
from tests.model import bodies

KEY, OTHER = bytes(32), bytes([1]) * 32
CONTRACT = "FR-XYZ-C00000042-W"
DIN = "DE*ABC*000001"


def best(key: bytes, contract_id: str, party: str = "FRXYZ") -> str:
    return next(names_of(key, contract_id, party))


def test_a_pseudonym_is_a_valid_contract_id_of_the_same_party() -> None:
    for number in range(300):
        name = best(KEY, f"FR-XYZ-C{number:08}")
        found = parse_contract_id(spelled(name))
        assert (found.form, found.check, found.provider) == ("emaid", "ok", "FRXYZ")
        assert found.canonical == name
        assert found.aliases == (name,), "no second name, by which somebody could look for another contract"


def test_every_spelling_of_a_contract_has_one_pseudonym_that_stays() -> None:
    spellings = (CONTRACT, "frxyzc00000042", "FR*XYZ*C00000042", "FRXYZC00000042W")
    assert len({best(KEY, each) for each in spellings}) == 1
    widths = (DIN, din_to_emi3(DIN), din_to_iso_legacy(DIN))
    assert len({best(KEY, each) for each in widths}) == 1


def test_two_keys_give_names_of_which_none_is_the_same() -> None:
    contracts = [f"FR-XYZ-C{number:08}" for number in range(2000)]
    ours, theirs = ({best(key, each) for each in contracts} for key in (KEY, OTHER))
    assert len(ours) == len(theirs) == 2000
    assert not ours & theirs
    assert not (ours | theirs) & {parse_contract_id(each).canonical for each in contracts}


def test_an_id_of_another_form_gets_a_name_of_its_tokens_party() -> None:
    assert best(KEY, "own-7", "NLQRS").startswith("NLQRS")
    assert contract_name("own-7", "NLQRS") != contract_name("own-7", "FRXYZ")


def test_only_what_names_a_contract_is_rewritten_and_all_else_keeps_its_bytes() -> None:
    token = b'{"uid":"04A1","type":"RFID","note":1.50,"contract_id":"FR-XYZ-C1","x":"FR-XYZ-C1"}'
    names = {"FR-XYZ-C1": "FR-XYZ-P"}
    assert renamed(token, names) == token.replace(b'"contract_id":"FR-XYZ-C1"', b'"contract_id":"FR-XYZ-P"')
    plugged = b'{"uid":"FR-XYZ-C1","type":"emaid","contract_id":"FR-XYZ-C1"}'
    assert renamed(plugged, names) == plugged.replace(b"C1", b"P")
    assert renamed(token, {"other": "name"}) == token
    body = b'{"a":1.0,"token":' + token + b',"b":[]}'
    assert with_renamed(body, "token", names) == body.replace(token, renamed(token, names))
    assert with_renamed(b'{"a":1.0}', "token", names) == b'{"a":1.0}'


def test_a_backend_of_one_name_sees_its_own() -> None:
    session = bodies.text(bodies.session())
    seen: dict[str, Any] = json.loads(with_contract(session, "mine"))
    assert seen["cdr_token"]["contract_id"] == "mine"
    assert seen["cdr_token"]["uid"] == bodies.session()["cdr_token"]["uid"]


# --- the table --------------------------------------------------------------------------------------------------


def assign(cx: Cx, peer: str, contract: str, *candidates: str) -> str:
    return pseudonyms.assign_txn(cx, peer, contract, contract, iter(candidates))


def test_a_name_that_is_taken_is_given_to_nobody_else() -> None:
    with Store.open_memory() as store:
        assert store.write(lambda cx: assign(cx, "cso", "A", "P1", "P2")) == "P1"
        assert store.write(lambda cx: assign(cx, "cso", "B", "P1", "A", "P2")) == "P2", "A is a contract's own name"
        assert store.write(lambda cx: assign(cx, "cso", "A", "P9")) == "P1", "once named, it stays"
        assert store.write(lambda cx: assign(cx, "other", "B", "P1")) == "P1", "names are a peer's own"
        assert store.read(lambda cx: pseudonyms.contract_of(cx, "cso", "P2")) == "B"
        assert store.read(lambda cx: pseudonyms.contract_of(cx, "cso", "P3")) is None
        assert store.read(pseudonyms.peers) == {"cso", "other"}


@pytest.mark.parametrize("contract", [CONTRACT, "own-7"])
def test_a_driver_is_known_by_all_his_names(contract: str) -> None:
    with Store.open_memory() as store:

        def txn(cx: Cx) -> None:
            for peer, key in (("cso", KEY), ("other", OTHER)):
                for each in (contract, "FR-XYZ-C00000043"):
                    name = contract_name(each, "FRXYZ")
                    pseudonyms.assign_txn(cx, peer, name, each, names_of(key, each, "FRXYZ"))

        store.write(txn)
        his = {best(key, contract) for key in (KEY, OTHER)}
        for known_by in (contract, spelled(min(his))):
            named = subject(contract_id=known_by)
            named = named.also_by(store.read(lambda cx, named=named: pseudonyms.related(cx, named.contracts)))  # type: ignore[misc]
            assert all(named.has_contract(spelled(each)) for each in his)
            assert named.has_contract(contract)
            assert not named.has_contract("FR-XYZ-C00000043")
            text = json.dumps({"cdr_token": {"contract_id": spelled(max(his)).lower()}}).encode()
            assert named.look(text).found == "named"


def test_other_candidates_follow_when_the_best_is_taken() -> None:
    assert len(set(islice(names_of(KEY, CONTRACT, "FRXYZ"), 20))) == 20
