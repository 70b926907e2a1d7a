"""Versions, tokens, envelopes, slashes: what every request meets first."""

from base64 import b64encode

import pytest

from tests.support.ocpi import FIRST, Desk, run_ocpi


def test_versions_and_details_are_read_with_the_first_token() -> None:
    async def test(desk: Desk) -> None:
        versions = (await desk.need("GET", "/versions")).json["data"]
        assert [each["version"] for each in versions] == ["2.2.1", "2.3.0"]
        for each in versions:
            details = (await desk.need("GET", each["url"])).json["data"]
            assert details["version"] == each["version"]
            offered = {(e["identifier"], e["role"]) for e in details["endpoints"]}
            assert {("locations", "SENDER"), ("locations", "RECEIVER"), ("credentials", "SENDER")} <= offered
            assert all(e["url"].startswith(desk.harness.url) for e in details["endpoints"])

    run_ocpi(test)


@pytest.mark.parametrize(
    ("face", "offered", "lacking"),
    [
        ("cpo", ("locations", "SENDER"), ("locations", "RECEIVER")),
        ("emsp", ("locations", "RECEIVER"), ("locations", "SENDER")),
    ],
)
def test_a_face_of_one_role_lists_each_module_once(
    face: str, offered: tuple[str, str], lacking: tuple[str, str]
) -> None:
    async def test(desk: Desk) -> None:
        versions = (await desk.need("GET", f"/{face}/versions")).json["data"]
        endpoints = (await desk.need("GET", versions[0]["url"])).json["data"]["endpoints"]
        names = [each["identifier"] for each in endpoints]
        assert len(names) == len(set(names))
        found = {(each["identifier"], each["role"]) for each in endpoints}
        assert offered in found
        assert lacking not in found

    run_ocpi(test)


@pytest.mark.parametrize(
    "value",
    [
        FIRST,
        b64encode(FIRST.encode()).decode(),
        b64encode(f"{FIRST}\n".encode()).decode(),
        b64encode(FIRST.encode()).decode().rstrip("="),
    ],
)
@pytest.mark.parametrize("scheme", ["Token", "token"])
def test_the_token_may_be_raw_or_base64_and_end_in_a_newline(scheme: str, value: str) -> None:
    async def test(desk: Desk) -> None:
        headers = {"Authorization": f"{scheme} {value}"}
        assert (await desk.send("GET", "/versions", headers=headers, token=None)).status == 200

    run_ocpi(test)


@pytest.mark.parametrize("header", [None, "Token", "Token wrong", "Bearer " + FIRST, "Token \udcff", "Token ===="])
def test_who_presents_no_known_token_gets_401_in_an_envelope(header: str | None) -> None:
    async def test(desk: Desk) -> None:
        headers = {} if header is None else {"Authorization": header}
        answered = await desk.send("GET", "/versions", headers=headers, token=None)
        assert answered.status == 401
        assert answered.json["status_code"] == 2001
        assert answered.json["timestamp"].endswith("Z")
        assert FIRST.encode() not in answered.body

    run_ocpi(test)


@pytest.mark.parametrize(
    "path", ["/versions", "/versions/", "//versions", "/", "/versions//", "/2.2.1/", "//2.2.1", "/emsp//2.2.1/"]
)
def test_slashes_too_many_or_too_few_change_nothing(path: str) -> None:
    async def test(desk: Desk) -> None:
        answered = await desk.send("GET", path)
        assert answered.status == 200

    run_ocpi(test)


@pytest.mark.parametrize("path", ["/9.9", "/nothing/there", "/2.2.1/unknown", "/emsp/2.2.1/bookings", "/" + "x/" * 50])
def test_what_is_not_there_is_404_in_an_envelope(path: str) -> None:
    async def test(desk: Desk) -> None:
        await desk.register()
        answered = await desk.send("GET", path)
        assert (answered.status, answered.json["status_code"]) == (404, 2003)

    run_ocpi(test)


def test_the_first_token_opens_no_functional_module() -> None:
    async def test(desk: Desk) -> None:
        answered = await desk.send("GET", "/emsp/2.2.1/locations/DE/ABC/L1")
        assert (answered.status, answered.json["status_code"]) == (401, 2001)

    run_ocpi(test)


def test_request_and_correlation_ids_come_back_and_are_made_where_missing() -> None:
    async def test(desk: Desk) -> None:
        sent = {"X-Request-ID": "one", "X-Correlation-ID": "two"}
        told = (await desk.send("GET", "/versions", headers=sent)).headers
        assert (told["X-Request-ID"], told["X-Correlation-ID"]) == ("one", "two")
        one, two = [(await desk.send("GET", "/versions")).headers["X-Request-ID"] for _ in range(2)]
        assert one != two

    run_ocpi(test)


def test_answers_of_functional_modules_swap_the_routing_headers_and_documents_carry_none() -> None:
    async def test(desk: Desk) -> None:
        names = {"to-country-code": "FR", "to-party-id": "XYZ", "from-country-code": "DE", "from-party-id": "ABC"}
        sent = {f"OCPI-{name}": value for name, value in names.items()}
        await desk.register()
        told = (await desk.send("GET", "/emsp/2.2.1/tariffs/DE/ABC/T1", headers=sent)).headers
        assert (told["OCPI-to-country-code"], told["OCPI-to-party-id"]) == ("DE", "ABC")
        assert (told["OCPI-from-country-code"], told["OCPI-from-party-id"]) == ("FR", "XYZ")
        assert "OCPI-to-party-id" not in (await desk.send("GET", "/versions", headers=sent)).headers

    run_ocpi(test)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_another_method_is_405_in_an_envelope(method: str) -> None:
    async def test(desk: Desk) -> None:
        answered = await desk.send(method, "/versions")
        assert (answered.status, answered.json["status_code"]) == (405, 2000)

    run_ocpi(test)
