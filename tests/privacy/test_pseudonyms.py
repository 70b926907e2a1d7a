"""Two partners of a CSP know its contracts by names that cannot be joined, and its own backend by their own."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from roamd.errors import Forbidden
from roamd.model.ids.contract import check_character, parse_contract_id
from roamd.model.keyedlist import contract_hash
from roamd.model.objects import check_record
from roamd.roaming import operations as op
from roamd.roaming.privacy import pseudonyms
from roamd.storage import feeds
from tests.control.commanding import TOKEN, command, events_at, put, session_body
from tests.control.test_reservations import reservation
from tests.model import bodies
from tests.privacy.drivers import Driver, publish
from tests.support.assemblies import Site
from tests.support.endpoints import Endpoint, Neighbourhood, until

FEED = "user-credentials"
CONTRACT = "FR-XYZ-C00000042-W"
PLUG = f"FR-XYZ-C00000077-{check_character('FRXYZC00000077')}"
UID = str(TOKEN["uid"])


def token(contract: str = CONTRACT, uid: str = UID, **changes: Any) -> dict[str, Any]:
    return TOKEN | {"type": "RFID", "uid": uid, "contract_id": contract, "whitelist": "ALLOWED_OFFLINE"} | changes


class Town:
    """A CSP and two CSOs that are linked to it; the first one knows its contracts by pseudonyms."""

    def __init__(self, hood: Neighbourhood) -> None:
        self.hood = hood

    async def build(self) -> None:
        self.cso, self.csp = await self.hood.linked()
        self.other = await self.hood.endpoint("NL*OTH", "cso")
        await self.hood.pair(self.csp, self.other)
        await self.hood.until_linked(self.csp, self.other)
        await self.rename(self.cso)

    async def rename(self, cso: Endpoint, *, on: bool = True) -> None:
        await self.csp.core.book.rename_contracts(self.csp.peer(cso), pseudonyms=on)

    def held(self, cso: Endpoint, feed: str = FEED) -> list[dict[str, Any]]:
        label = cso.peer(self.csp).label
        rows = cso.store.read(lambda cx: feeds.list_mirrored(cx, label, feed, None, 500_000))
        return [json.loads(row.body) for row in rows]

    def contracts(self, cso: Endpoint) -> list[str]:
        return sorted(each["contract_id"] for each in self.held(cso))

    async def publish(self, *tokens: dict[str, Any]) -> None:
        """Until both CSOs have as many credentials."""
        for each in tokens:
            await put(self.csp, FEED, each)
        await until(lambda: len(self.held(self.cso)) == len(self.held(self.other)) == len(tokens))

    async def name(self) -> str:
        """The pseudonym of CONTRACT, published with its card."""
        await self.publish(token())
        [name] = self.contracts(self.cso)
        return name

    async def tap(self, type_: str, uid: str) -> list[Any]:
        """What the CSP's backend is asked when somebody is at the CSO's station."""
        asked = len(self.csp.backend.asked)
        await self.cso.ask(op.Authorize(op.CredentialIn(type_, uid)))
        return [question.credential for question in self.csp.backend.asked[asked:]]


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async with Neighbourhood() as hood:
        built = Town(hood)
        await built.build()
        yield built


def session(contract: str, **changes: Any) -> dict[str, Any]:
    body = session_body(auth_method="WHITELIST")
    return body | {"cdr_token": body["cdr_token"] | {"type": "RFID", "contract_id": contract}} | changes


def of_session(csp: Endpoint) -> list[dict[str, Any]]:
    return [each for each in events_at(csp, "object.changed") if each["feed"] == "sessions"]


# --- what is sent -----------------------------------------------------------------------------------------------


async def test_a_listing_bears_a_valid_name_of_the_same_party_and_nothing_else_is_changed(
    town: Town, autojump_clock: object
) -> None:
    name = await town.name()
    found = parse_contract_id(name)
    assert (found.provider, found.check) == ("FRXYZ", "ok")
    assert found.canonical != parse_contract_id(CONTRACT).canonical
    assert town.held(town.cso) == [token(name)]
    assert town.held(town.other) == [token()]


async def test_two_partners_cannot_join_their_lists(town: Town, autojump_clock: object) -> None:
    await town.rename(town.other)
    numbers = range(20)
    await town.publish(*(token(f"FR-XYZ-C{number:08}", f"04A1B2C3D4{number:04}") for number in numbers))
    await until(lambda: not any("-C000" in each for each in town.contracts(town.other)))
    ours, theirs = set(town.contracts(town.cso)), set(town.contracts(town.other))
    assert len(ours) == len(theirs) == 20
    assert not ours & theirs


async def test_more_credentials_than_are_named_at_once_all_come(
    town: Town, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pseudonyms, "TOGETHER", 7)
    await town.publish(*(token(f"FR-XYZ-C{number:08}", f"04A1B2C3D4{number:04}") for number in range(30)))
    assert len(set(town.contracts(town.cso))) == 30


async def test_the_switch_replaces_what_the_peer_has_and_a_name_stays_the_same_for_ever(
    town: Town, autojump_clock: object
) -> None:
    name = await town.name()
    rights = town.csp.peer(town.cso).row.rights_version
    await town.rename(town.cso, on=False)
    await town.rename(town.cso, on=False)
    assert town.csp.peer(town.cso).row.rights_version == rights + 1
    await until(lambda: town.contracts(town.cso) == [CONTRACT])
    assert (await town.csp.ask(op.GetObject(FEED, UID))).body == bodies.text(token())
    town.csp.crash()
    await town.csp.restart()
    await town.rename(town.cso)
    await until(lambda: town.contracts(town.cso) == [name])


async def test_an_id_of_plug_and_charge_is_a_contract_too_and_its_withdrawal_is_understood(
    town: Town, autojump_clock: object
) -> None:
    await town.publish(token(), token(PLUG, PLUG, type="EMAID"))
    plugged = next(each for each in town.held(town.cso) if each["type"] == "EMAID")
    assert plugged["uid"] == plugged["contract_id"] != PLUG
    assert [each["uid"] for each in await town.tap("EMAID", plugged["uid"])] == [PLUG]
    assert [each["uid"] for each in await town.tap("EMAID", PLUG)] == [PLUG], "the car's certificate has its own name"
    await town.csp.ask(op.DeleteObject(FEED, PLUG))
    await until(lambda: [each["type"] for each in town.held(town.cso)] == ["RFID"])


async def test_a_keyed_list_hashes_the_name_that_the_peer_knows(town: Town, autojump_clock: object) -> None:
    name = await town.name()
    peer = town.csp.peer(town.cso)
    await town.csp.core.book.key_list(peer, keyed=True)
    await until(lambda: "keyed" in town.held(town.cso)[0])
    [hashed] = town.held(town.cso)
    assert hashed["contract_id"] == contract_hash(bytes.fromhex(hashed["keyed"]), name)
    assert [each["uid"] for each in await town.tap("RFID", UID)] == [UID]


async def test_a_command_names_the_driver_as_the_listing_does(town: Town, autojump_clock: object) -> None:
    name = await town.name()
    place = {"location_id": "LOC1", "evse_uid": "E1"}
    for peer, contract in ((town.cso, name), (town.other, CONTRACT)):
        label = town.csp.peer(peer).label
        made = await command(town.csp, "START_SESSION", {"token": token(), **place}, peer=label)
        assert made.state == "ACCEPTED"
        told = json.loads(bytes(peer.backend.told[0].body))
        assert told["token"] == token(contract)
    reserve = {"token": token(PLUG), "expiry_date": "2030-01-01T00:00:00Z", "reservation_id": "R-7", **place}
    await command(town.csp, "RESERVE_NOW", reserve, peer=town.csp.peer(town.cso).label)
    first_named_here = json.loads(bytes(town.cso.backend.told[1].body))["token"]["contract_id"]
    assert parse_contract_id(first_named_here).provider == "FRXYZ"
    assert first_named_here not in (name, PLUG)


async def test_a_grant_cannot_be_renamed_so_it_names_no_contract_or_is_not_sent(
    town: Town, autojump_clock: object
) -> None:
    grant = {
        "country_code": "FR", "party_id": "XYZ", "id": "G-1", "type": "RFID", "uid": UID, "rule": "OFFLINE",
        "valid_until": "2026-11-23T10:00:00Z", "last_updated": "2026-11-22T10:00:00Z",
    }  # fmt: skip
    label = town.csp.peer(town.cso).label
    with pytest.raises(Forbidden, match=f"{label} knows our contracts by pseudonyms.*leave out contract_id"):
        await put(town.csp, "grants", grant | {"contract_id": CONTRACT})
    await put(
        town.csp,
        "grants",
        grant | {"id": "G-2", "contract_id": CONTRACT, "places": [{"country_code": "NL", "party_id": "OTH"}]},
    )
    await put(town.csp, "grants", grant | {"id": "G-3", "type": "EMAID", "uid": PLUG})
    await put(town.csp, "grants", grant)
    await until(lambda: {each["id"] for each in town.held(town.other, "grants")} == {"G-1", "G-2", "G-3"})
    await until(lambda: [each["id"] for each in town.held(town.cso, "grants")] == ["G-1"])
    await town.rename(town.other)
    await until(lambda: [each["id"] for each in town.held(town.other, "grants")] == ["G-1"])


# --- what the peer says -----------------------------------------------------------------------------------------


async def test_the_backend_is_asked_about_its_own_contract(town: Town, autojump_clock: object) -> None:
    name = await town.name()
    assert (await town.tap("RFID", UID))[0]["uid"] == UID
    for spelling in (name, name.replace("-", "").lower()):
        await town.cso.ask(op.Authorize(op.CredentialIn("APP_USER", "driver-1", spelling)))
        asked = town.csp.backend.asked[-1].credential
        assert (asked["uid"], asked["contract_id"]) == ("DRIVER-1", CONTRACT)
    decided = await town.csp.ask(op.ListDecisions())
    assert {each.contract_id for each in decided.items} == {None, CONTRACT}
    await town.cso.ask(op.Authorize(op.CredentialIn("APP_USER", "driver-1", "FR-XYZ-C99999999")))
    assert town.csp.backend.asked[-1].credential["contract_id"] == "FR-XYZ-C99999999", "no pseudonym: it passes"


async def test_a_pseudonym_means_nothing_in_the_mouth_of_another_partner(town: Town, autojump_clock: object) -> None:
    name = await town.name()
    await town.other.ask(op.Authorize(op.CredentialIn("APP_USER", "driver-1", name)))
    assert town.csp.backend.asked[-1].credential["contract_id"] == name


async def test_a_session_and_its_record_find_home_and_say_whose_they_are_also_after_a_restart(
    town: Town, autojump_clock: object
) -> None:
    name = await town.name()
    csp, label = town.csp, town.csp.peer(town.cso).label
    body = session(name)
    await put(town.cso, "sessions", body)
    await put(town.cso, "reservations", reservation("PENDING", cdr_token=body["cdr_token"]))
    await until(lambda: len([each for each in events_at(csp, "object.changed") if "contract_id" in each]) == 2)
    assert [each["contract_id"] for each in of_session(csp)] == [CONTRACT]
    text = bodies.text(bodies.cdr(cdr_token=body["cdr_token"], tariffs=[bodies.tariff()]))
    record = check_record("2.3.0", text, own_parties=frozenset({"DEABC"}))
    (posted,) = await town.cso.ask(op.PostRecords((record,)))
    assert posted.peer == town.cso.peer(csp).label, "the name has the party by which records are routed"
    await until(lambda: bool(events_at(csp, "record.received")))
    for _ in range(2):
        shown = await csp.ask(op.GetPeerObject(label, "sessions", "S1"))
        assert (json.loads(shown.body), shown.contract_id) == (body, CONTRACT)
        [event] = events_at(csp, "record.received")
        assert (event["contract_id"], event["record"]["cdr_token"]["contract_id"]) == (CONTRACT, name)
        kept = await csp.ask(op.GetRecord("Cdr-1"))
        assert (kept.contract_id, bytes(kept.record)) == (CONTRACT, record.body)
        await csp.stop()
        await csp.restart()
        await town.rename(town.cso, on=False)  # what it said before still means the same
    assert (await csp.ask(op.JudgeRecord("Cdr-1", "ACCEPTED"))).state == "ACCEPTED"
    await town.hood.until_linked(town.cso, csp)
    await until(lambda: record_at(town.cso).state == "ACCEPTED")
    csp.start(csp.core.price_checks.run)
    await until(lambda: record_at(csp).price is not None)


def record_at(endpoint: Endpoint) -> op.RecordReply:
    seen: list[op.RecordReply] = []
    endpoint.core.operations.handle(op.GetRecord("Cdr-1"), seen.append)
    return seen[0]


async def test_a_driver_is_exported_and_forgotten_by_all_his_names(town: Town, autojump_clock: object) -> None:
    name = await town.name()
    await put(town.cso, "sessions", session(name, status="COMPLETED"))
    await put(town.cso, "sessions", session(name, id="S2", status="COMPLETED") | {"cdr_token": other_card(name)})
    await until(lambda: len(of_session(town.csp)) == 2)
    told = await town.csp.ask(op.ExportSubject(contract_id=CONTRACT))
    assert len(told["received"]) == 2
    assert [each["peer"] for each in told["pseudonyms"]] == [town.csp.peer(town.cso).label]
    by_name = await town.csp.ask(op.ExportSubject(contract_id=name))
    assert len(by_name["published"]) == 1, "a partner may ask about its name for him"
    erased = await town.csp.ask(op.EraseSubject(contract_id=CONTRACT))
    assert (erased.erased["mirror"], erased.erased["pseudonyms"], erased.mentions) == (2, 1, [])
    assert not town.csp.store.read(lambda cx: cx.run("SELECT * FROM pseudonyms"))
    await until(lambda: not town.held(town.cso))


def other_card(name: str) -> dict[str, Any]:
    return {**session(name)["cdr_token"], "uid": "04FFFFFFFFFF80"}


# --- over files -------------------------------------------------------------------------------------------------


async def test_over_a_store_on_disk_the_feed_waits_until_the_names_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pseudonyms, "TOGETHER", 3)
    async with Site(tmp_path) as site:
        cso, csp = await site.daemon("DE*ABC", "cso"), await site.daemon("FR*XYZ", "csp")
        await site.pair(cso, csp)
        shown = await csp.operate("peers.pseudonyms", peer=csp.peer(cso).label, pseudonyms=True)
        assert shown["agreement"]["pseudonyms"] is True
        drivers = [Driver(1000 + number) for number in range(10)]
        for driver in drivers:
            await publish(csp, FEED, "FRXYZ", driver.token())
        store = cso.assembly.ground.store
        bodies_sql = "SELECT body FROM mirror WHERE feed = 'user-credentials'"
        await until(lambda: len(store.read(lambda cx: cx.run(bodies_sql))) == len(drivers), 20)
        names = {json.loads(row[0])["contract_id"] for row in store.read(lambda cx: cx.run(bodies_sql))}
        assert len(names) == len(drivers)
        assert not names & {driver.contract() for driver in drivers}
