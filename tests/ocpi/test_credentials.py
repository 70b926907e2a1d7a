"""The handshake: what it changes, what it leaves as it was, and that no crash or lost answer locks anybody out."""

import json
from typing import Any

import pytest

from roamd.backend.ocpi.backends import OcpiSettings
from roamd.errors import ConfigError, StoreFull
from roamd.roaming.operations import KeepRegistration
from tests.support.api import Answered
from tests.support.core import FakeCore
from tests.support.ocpi import FIRST, NAME, PEER, SETTINGS, THEIRS, Desk, OcpiBackend, run_ocpi

PATH = "/2.2.1/credentials"


async def opens(desk: Desk, token: str) -> bool:
    return (await desk.send("GET", PATH, token=token)).status == 200


def codes(answered: Answered) -> tuple[int, int]:
    return answered.status, answered.json["status_code"]


def test_a_backend_registers_and_gets_a_token_of_its_own() -> None:
    async def test(desk: Desk) -> None:
        desk.core.partners = [PEER]
        answered = await desk.need("POST", PATH, desk.backend.credentials())
        ours = answered.json["data"]
        assert [role["role"] for role in ours["roles"]] == ["HUB"]
        assert (ours["country_code"], ours["party_id"]) == ("DE", "ABC")
        assert ours["url"] == f"{desk.harness.url}/ocpi/versions"
        assert ours["token"] not in (FIRST, THEIRS)
        assert [seen.path for seen in desk.backend.requests] == ["/versions", "/details"]
        own = (await desk.send("GET", PATH, token=ours["token"])).json["data"]
        assert own["token"] == ours["token"]
        assert not await opens(desk, FIRST)

    run_ocpi(test)


def test_a_newer_version_and_a_face_of_one_role_list_the_parties_behind_it() -> None:
    async def test(desk: Desk) -> None:
        desk.core.partners = [PEER]
        desk.backend.version = "2.3.0"
        ours = (await desk.need("POST", "/2.3.0/credentials", desk.backend.credentials())).json["data"]
        assert ours["hub_party_id"] == "DEABC"
        assert {(r["role"], r["country_code"], r["party_id"]) for r in ours["roles"]} == {
            ("CPO", "FR", "XYZ"),
            ("EMSP", "FR", "XYZ"),
        }

    run_ocpi(test)


def test_our_own_tokens_are_kept_as_hashes_only() -> None:
    async def test(desk: Desk) -> None:
        token = await desk.register()
        kept = desk.core.registrations[NAME].decode()
        assert token not in kept
        assert FIRST not in kept

    run_ocpi(test)


def test_who_is_registered_may_not_post_and_who_is_not_may_neither_put_nor_delete() -> None:
    async def test(desk: Desk) -> None:
        assert codes(await desk.send("PUT", PATH, desk.backend.credentials())) == (405, 2000)
        assert codes(await desk.send("DELETE", PATH)) == (405, 2000)
        await desk.register()
        assert codes(await desk.send("POST", PATH, desk.backend.credentials())) == (405, 2000)

    run_ocpi(test)


def test_a_put_reads_the_endpoints_again_and_the_old_token_lives_until_the_new_one_is_used() -> None:
    async def test(desk: Desk) -> None:
        old = await desk.register()
        desk.backend.modules = [("tokens", "SENDER")]
        new = (await desk.need("PUT", PATH, desk.backend.credentials())).json["data"]["token"]
        assert '"tokens"' in desk.core.registrations[NAME].decode()
        assert await opens(desk, old)
        assert await opens(desk, new)
        kept = json.loads(desk.core.registrations[NAME])
        assert kept["used_ms"] > 0

    run_ocpi(test)


def test_delete_unregisters_and_opens_the_first_token_again() -> None:
    async def test(desk: Desk) -> None:
        token = await desk.register()
        await desk.need("DELETE", PATH)
        assert not await opens(desk, token)
        assert desk.core.registrations == {}
        desk.token = FIRST
        await desk.register()

    run_ocpi(test)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{", "$"),
        (b"[]", "$"),
        (b'{"url":"http://x/versions"}', "$.token"),
        (b'{"token":"with space","url":"http://x/versions"}', "$.token"),
        (b'{"token":"t","url":7}', "$.url"),
        (b'{"token":"t","url":"ftp://x"}', "$.url"),
        (b'{"token":"t","url":"http://x","roles":[7]}', "$.roles"),
        (b'{"token":"t","token":"u","url":"http://x"}', "$.token"),
        (b"[" * 100_000, "$"),
        (b'{"token":NaN}', "$"),
        (b"\xff\xfe", "$"),
    ],
)
def test_bad_credentials_are_refused_with_the_place(body: bytes, path: str) -> None:
    async def test(desk: Desk) -> None:
        answered = await desk.send("POST", PATH, body)
        assert answered.status in (400, 413)
        assert answered.json["status_code"] == 2001
        assert path in answered.json["status_message"] or answered.status == 413
        assert desk.core.registrations == {}

    run_ocpi(test)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"url": "http://127.0.0.1:1/versions"}, 3001),
        ({"token": "not-the-one"}, 3001),
        ({"version": "2.1.1"}, 3002),
        ({"url": "/credentials"}, 3001),
    ],
)
def test_a_call_back_that_fails_leaves_all_as_it_was(change: dict[str, str], code: int) -> None:
    async def test(desk: Desk) -> None:
        given: dict[str, Any] = desk.backend.credentials()
        desk.backend.version = change.get("version", "2.2.1")
        given |= {name: value for name, value in change.items() if name != "version"}
        if given["url"].startswith("/"):
            given["url"] = desk.backend.url + given["url"]
        answered = await desk.send("POST", PATH, given)
        assert answered.json["status_code"] == code
        assert desk.core.registrations == {}
        assert await opens(desk, FIRST)

    run_ocpi(test)


def test_the_address_of_the_version_details_will_do() -> None:
    async def test(desk: Desk) -> None:
        await desk.need("POST", PATH, desk.backend.credentials(url=f"{desk.backend.url}/details"))

    run_ocpi(test)


@pytest.mark.parametrize("form", ["raw", "base64"])
def test_the_backend_is_called_with_its_token_in_the_form_that_it_takes(form: str) -> None:
    async def test(desk: Desk) -> None:
        desk.backend.forms = (form,)
        await desk.register()

    run_ocpi(test)


# --- crashes ------------------------------------------------------------------------------------------------------


def test_a_crash_before_the_commit_leaves_the_first_token_open() -> None:
    core = FakeCore()

    async def crash(desk: Desk) -> None:
        refuse_to_keep(core)
        assert codes(await desk.send("POST", PATH, desk.backend.credentials())) == (507, 3000)

    async def again(desk: Desk) -> None:
        await desk.register()

    run_ocpi(crash, core=core)
    core.refuse_with = None
    core.on_asked = lambda: None
    run_ocpi(again, core=core)


def refuse_to_keep(core: FakeCore) -> None:
    """From the next KeepRegistration on the store is full."""

    def look() -> None:
        if isinstance(core.asked[-1], KeepRegistration):
            core.refuse_with = StoreFull("full")

    core.on_asked = look


def test_a_crash_after_the_commit_with_the_answer_lost_lets_the_first_token_register_again() -> None:
    core, lost = FakeCore(), []

    async def crash(desk: Desk) -> None:
        lost.append((await desk.need("POST", PATH, desk.backend.credentials())).json["data"]["token"])

    async def again(desk: Desk) -> None:
        token = await desk.register()
        assert not await opens(desk, lost[0])
        assert await opens(desk, token)
        assert not await opens(desk, FIRST)

    run_ocpi(crash, core=core)
    run_ocpi(again, core=core)


def test_after_a_restart_the_token_is_known() -> None:
    core, tokens = FakeCore(), []

    async def before(desk: Desk) -> None:
        tokens.append(await desk.register())
        assert await opens(desk, tokens[0])

    async def after(desk: Desk) -> None:
        assert await opens(desk, tokens[0])

    run_ocpi(before, core=core)
    run_ocpi(after, core=core)


def test_a_lost_answer_to_a_put_leaves_the_old_token_open_for_the_next_try() -> None:
    core, tokens = FakeCore(), []

    async def crash(desk: Desk) -> None:
        tokens.append(await desk.register())
        assert await opens(desk, tokens[0])
        tokens.append((await desk.need("PUT", PATH, desk.backend.credentials())).json["data"]["token"])

    async def again(desk: Desk) -> None:
        desk.token = tokens[0]
        third = (await desk.need("PUT", PATH, desk.backend.credentials())).json["data"]["token"]
        assert not await opens(desk, tokens[1])
        assert await opens(desk, third)

    run_ocpi(crash, core=core)
    run_ocpi(again, core=core)


def test_a_new_first_token_in_the_configuration_lets_a_lost_backend_in_again() -> None:
    core = FakeCore()

    async def before(desk: Desk) -> None:
        assert await opens(desk, await desk.register())

    async def after(desk: Desk) -> None:
        desk.token = "another-first-token"
        await desk.register()

    run_ocpi(before, core=core)
    run_ocpi(after, core=core, settings=[OcpiSettings(NAME, "another-first-token")])


def test_a_backend_without_handshake_is_let_in_by_its_first_token() -> None:
    async def test(desk: Desk) -> None:
        answered = await desk.send("GET", "/emsp/2.2.1/tariffs/DE/ABC/NONE")
        assert codes(answered) == (404, 2003)

    run_ocpi(test, settings=[OcpiSettings(NAME, FIRST, handshake=False)], backend=OcpiBackend())


@pytest.mark.parametrize("other", [OcpiSettings(NAME, "another"), OcpiSettings("other", FIRST)])
def test_two_backends_with_one_name_or_token_are_a_configuration_error(other: OcpiSettings) -> None:
    async def test(desk: Desk) -> None:
        raise AssertionError(desk)

    with pytest.raises(ConfigError, match="two backends"):
        run_ocpi(test, settings=[SETTINGS, other])
