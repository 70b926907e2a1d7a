"""Who is let in, and how refusals look."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from roamd.backend.auth import KeyHolder, host_name, new_key
from roamd.backend.context import ApiSettings
from roamd.backend.examples import AUTHORIZATION, OBJECTS, SERVICE_RECORD
from roamd.backend.server import Listen
from roamd.errors import ConfigError, RoamdError, StoreFull, TryAgain
from tests.support.api import KEY, Harness, run_api


def test_without_the_key_nothing_but_health_is_answered() -> None:
    async def test(api: Harness) -> None:
        for path in ("/v1/status", "/v1/openapi.json", "/v1/stream", "/v1/no-such-thing", "/"):
            answered = await api.send("GET", path, key=None)
            assert answered.status == 401
            assert answered.headers["WWW-Authenticate"].startswith("Bearer")
            assert answered.json["code"] == "unauthorized"
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await api.send("GET", path, key=None)).status == 200
        assert not api.core.asked

    run_api(test)


@pytest.mark.parametrize("wrong", ["", "x", KEY[:-1], KEY + "x", KEY.upper(), "\u00e9" * 8])
def test_a_wrong_key_is_refused(wrong: str) -> None:
    keys = KeyHolder(KEY)
    assert not keys.matches(f"Bearer {wrong}")
    assert not keys.matches(f"Basic {KEY}")
    assert not keys.matches(KEY)
    assert keys.matches(f"Bearer {KEY}")
    assert keys.matches(f"bearer  {KEY}")


def test_a_rotated_key_works_at_once_and_the_old_one_ends(tmp_path: Path) -> None:
    path = tmp_path / "api.key"
    path.write_text(KEY + "\n")

    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/api-key/rotate")
        fresh = answered.json["api_key"]
        assert (await api.send("GET", "/v1/status")).status == 401
        assert (await api.send("GET", "/v1/status", key=fresh)).status == 200
        assert path.read_text() == fresh + "\n"
        assert path.stat().st_mode & 0o777 == 0o600

    run_api(test, keys=KeyHolder.load(path))
    assert [each.name for each in tmp_path.iterdir()] == ["api.key"]


def test_what_was_opened_with_the_old_key_ends_with_it() -> None:
    async def test(api: Harness) -> None:
        stream = await api.stream()
        headers = {"Authorization": f"Bearer {KEY}", "Accept": "text/event-stream"}
        async with api.session.get(f"{api.url}/v1/events", headers=headers) as events:
            await events.content.readline()
            await api.send("POST", "/v1/api-key/rotate")
            await events.content.read()
        await stream.socket.receive()
        assert stream.socket.close_code == 1008

    run_api(test)


def test_a_key_that_cannot_be_written_leaves_the_old_one_in_force(tmp_path: Path) -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/api-key/rotate")
        assert answered.status == 500
        assert "old key stays" in answered.json["detail"]
        assert (await api.send("GET", "/v1/status")).status == 200

    run_api(test, keys=KeyHolder(KEY, tmp_path / "gone" / "api.key"))


def test_a_key_file_that_is_missing_or_cut_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"api\.key_file: cannot be read"):
        KeyHolder.load(tmp_path / "api.key")
    (tmp_path / "api.key").write_text("rk_\n")
    with pytest.raises(ConfigError, match="too short"):
        KeyHolder.load(tmp_path / "api.key")


def test_fresh_keys_are_long_and_their_own() -> None:
    assert new_key(os.urandom) != new_key(os.urandom)
    assert len(new_key(os.urandom)) > 40


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8119", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", ""]
)
def test_a_host_name_that_was_rebound_to_loopback_is_refused(host: str) -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("GET", "/livez", headers={"Host": host})
        assert answered.status == 403
        assert answered.json["code"] == "host-not-allowed"

    run_api(test)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "127.9.9.9", "[::1]:8119", "roamd.local", "localhost."]
)
def test_loopback_and_configured_host_names_are_served(host: str) -> None:
    async def test(api: Harness) -> None:
        assert (await api.send("GET", "/v1/status", headers={"Host": host})).status == 200

    run_api(test, settings=ApiSettings(names=frozenset({"roamd.local"})))


def test_host_names_follow_a_reload() -> None:
    async def test(api: Harness) -> None:
        headers = {"Host": "roamd.internal:8119"}
        assert (await api.send("GET", "/v1/status", headers=headers)).status == 403
        api.api.settings = ApiSettings(names=frozenset({"roamd.internal"}))
        assert (await api.send("GET", "/v1/status", headers=headers)).status == 200
        api.api.settings = ApiSettings()
        assert (await api.send("GET", "/v1/status", headers=headers)).status == 403

    run_api(test)


def test_the_name_under_which_it_listens_is_served() -> None:
    assert Listen.parse("Roamd.Internal:8119").names == {"roamd.internal"}
    assert Listen.parse("0.0.0.0:8119").names == Listen.parse("unix:/x").names == frozenset()

    async def test(api: Harness) -> None:
        assert api.api.host_names == {"127.0.0.1"}

    run_api(test)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://"])
def test_a_foreign_web_page_is_refused_even_with_the_key(origin: str) -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/reload", headers={"Origin": origin})
        assert answered.status == 403
        assert answered.json["code"] == "origin-not-allowed"
        assert not api.core.asked

    run_api(test)


def test_its_own_origin_is_fine() -> None:
    async def test(api: Harness) -> None:
        assert (await api.send("GET", "/v1/status", headers={"Origin": api.url})).status == 200

    run_api(test)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("Host.Example.:80", "host.example"),
        ("[::1]:80", "::1"),
        ("[::1", ""),
        ("[::1]x", ""),
        ("a:b", ""),
        ("a:80:80", ""),
    ],
)
def test_host_headers_are_read_as_they_are_meant(header: str, name: str) -> None:
    assert host_name(header) == name


def test_unknown_routes_and_wrong_methods_are_problems() -> None:
    async def test(api: Harness) -> None:
        for path in ("/v1/nothing", "/nothing", "/v1/nothing/at/all", "/v1/records/1/nothing"):
            answered = await api.send("GET", path)
            assert answered.status == 404
            assert answered.headers["Content-Type"].startswith("application/problem+json")
            assert answered.json["code"] == "no-such-route"
        answered = await api.send("POST", "/v1/locations")
        assert answered.status == 405
        assert "GET" in answered.headers["Allow"]
        assert answered.json["title"] == "Method Not Allowed"

    run_api(test)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreFull("full"), 507, "store-full"),
        (TryAgain("wait"), 503, "try-again"),
        (ConfigError(["a", "b"]), 422, "config"),
    ],
)
def test_what_the_core_refuses_is_a_problem_with_its_status(error: RoamdError, status: int, code: str) -> None:
    async def test(api: Harness) -> None:
        api.core.refuse_with = error
        answered = await api.send("POST", "/v1/reload")
        assert (answered.status, answered.json["code"]) == (status, code)
        assert answered.json["type"] == f"urn:roamd:problem:{code}"
        if isinstance(error, ConfigError):
            assert [fault["message"] for fault in answered.json["faults"]] == ["a", "b"]

    run_api(test)


def test_a_bug_is_a_plain_500_without_a_traceback() -> None:
    async def test(api: Harness) -> None:
        api.core._operate = None  # type: ignore[assignment,method-assign]  # calling it is the bug
        api.api.core.ask = None  # type: ignore[assignment,method-assign]
        answered = await api.send("GET", "/v1/status")
        assert answered.status == 500
        assert answered.json["code"] == "internal"
        assert b"Traceback" not in answered.body
        assert b"NoneType" not in answered.body

    run_api(test)


def test_a_body_beyond_8_mib_is_413() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/records", b" " * (8 * 1024 * 1024 + 1))
        assert answered.status == 413
        assert answered.json["code"] == "too-large"

    run_api(test)


def test_readiness_says_why_not() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("GET", "/readyz", key=None)
        assert answered.status == 503
        assert answered.json["detail"] == "the store is being migrated"
        assert (await api.send("GET", "/livez", key=None)).status == 200

    run_api(test, settings=ApiSettings(readiness=lambda: "the store is being migrated"))


def test_metrics_are_the_text_that_is_rendered() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("GET", "/metrics", key=None)
        assert answered.body == b"roamd_up 1\n"
        assert answered.headers["Content-Type"].startswith("text/plain; version=0.0.4")

    run_api(test, settings=ApiSettings(metrics=lambda: b"roamd_up 1\n"))


def test_a_unix_socket_serves_any_host_name_to_its_group(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"

    async def test(api: Harness) -> None:
        assert (await api.send("GET", "/v1/status", headers={"Host": "whatever.example"})).status == 200
        assert (await api.send("GET", "/v1/status", key=None)).status == 401
        assert path.stat().st_mode & 0o777 == 0o660

    run_api(test, listen=f"unix:{path}", connector=lambda: aiohttp.UnixConnector(str(path)))


def test_a_socket_file_that_a_crash_left_behind_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()

    async def test(api: Harness) -> None:
        assert (await api.send("GET", "/v1/status")).status == 200

    run_api(test, listen=f"unix:{path}", connector=lambda: aiohttp.UnixConnector(str(path)))


@pytest.mark.parametrize("text", ["", "8119", ":8119", "host:port", "host:99999"])
def test_a_listen_address_that_is_none_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"api\.listen"):
        Listen.parse(text)


def test_listen_addresses_are_read() -> None:
    assert Listen.parse("127.0.0.1:8119") == Listen("127.0.0.1", 8119)
    assert Listen.parse("[::1]:1") == Listen("::1", 1)
    assert Listen.parse("unix:/run/x.sock") == Listen(path="/run/x.sock")


def test_bytes_that_are_no_http_get_a_400_and_nothing_is_logged_twice(capsys: pytest.CaptureFixture[str]) -> None:
    async def test(api: Harness) -> None:
        import asyncio

        address = api.serving.addresses[0]
        reader, writer = await asyncio.open_connection(address[0], address[1])
        writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert b"400" in await reader.readline()
        writer.close()

    run_api(test)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "path",
    ["/v1/tariffs/%ff", "/v1/tariffs/%00", "/v1/tariffs?after=%ff", "/v1/events?after=%ff", "/v1/peers/%ff/tariffs",
     "/v1/records/%ff?party=%ff", "/v1/records?state=%ff", "/v1/tariffs/" + "x" * 3000, "/v1/tariffs/..%2f..%2f"],
)  # fmt: skip
def test_odd_paths_are_the_clients_fault(path: str) -> None:
    async def test(api: Harness) -> None:
        async with api.session.get(
            URL(api.url + path, encoded=True), headers={"Authorization": f"Bearer {KEY}"}
        ) as got:
            assert 400 <= got.status < 500 or "after" in path

    run_api(test)


@settings(max_examples=50, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.data())
def test_no_body_makes_a_500(data: st.DataObject) -> None:
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
    values = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
    )
    known = st.sampled_from([*OBJECTS.values(), SERVICE_RECORD, AUTHORIZATION])

    def spoiled(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, data.draw(st.sampled_from([*body])): data.draw(values)}

    bodies = (
        st.binary(max_size=60)
        | values.map(lambda each: json.dumps(each).encode())
        | known.map(spoiled).map(lambda each: json.dumps(each).encode())
    )
    drawn = data.draw(st.lists(bodies, min_size=1, max_size=4))
    targets = [("POST", "/v1/authorizations"), ("POST", "/v1/records"), ("PUT", "/v1/locations/LOC1"),
               ("PATCH", "/v1/tariffs/T1"), ("POST", "/v1/sessions/batch"), ("POST", "/v1/events/ack"),
               ("PUT", "/v1/user-credentials/04E2A1B2C3D480"), ("PATCH", "/v1/locations/LOC1/evses/3256"),
               ("POST", "/v1/invites"), ("POST", "/v1/peers/xyz/remove")]  # fmt: skip

    async def test(api: Harness) -> None:
        await api.send("PUT", "/v1/tariffs/T1", OBJECTS["tariffs"])
        for body in [*drawn, b"[" + b",".join(drawn) + b"]"]:
            for method, path in targets:
                answered = await api.send(method, path, body)
                assert answered.status < 500, (method, path, body, answered.body)
        stream = await api.stream()
        for op in ("authorize", "record", "put", "patch", "patch_evse", "answer"):
            told = await stream.ask({"op": op, "id": 1, "feed": "tariffs", "key": "T1", "body": 0})
            assert told["status"] < 500

    run_api(test)


def test_head_is_answered_like_get_without_a_body() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("HEAD", "/v1/status")
        assert (answered.status, answered.body) == (200, b"")

    run_api(test)


def test_a_body_that_is_not_packed_as_it_says_is_a_problem_and_no_fault_of_ours() -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("PUT", "/v1/tariffs/T1", b"no gzip", headers={"Content-Encoding": "gzip"})
        assert (answered.status, answered.json["code"]) == (400, "unreadable-body")

    run_api(test)
