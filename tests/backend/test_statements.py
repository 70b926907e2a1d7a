"""The clerk's questions at the API."""

from roamd.roaming.operations import GetStatement, ReconcilePeer, SignStatement
from tests.support.api import Harness, operations_of, run_api


def test_a_month_is_read_with_and_without_its_list() -> None:
    async def test(api: Harness) -> None:
        plain = await api.send("GET", "/v1/peers/xyz/statements/2026-10")
        assert plain.json["state"] == "OPEN"
        assert "lines" not in plain.json
        assert (await api.send("GET", "/v1/peers/xyz/statements/2026-10?lines=true&compare=true")).json["lines"] == []
        assert operations_of(api.core, GetStatement)[-1] == GetStatement("xyz", "2026-10", True, True)
        assert (await api.send("GET", "/v1/peers/xyz/statements")).json["items"][0]["month"] == "2026-10"

    run_api(test)


def test_what_was_shown_is_what_is_signed() -> None:
    async def test(api: Harness) -> None:
        path = "/v1/peers/xyz/statements/2026-10"
        assert (await api.send("POST", path)).status == 200
        assert (await api.send("POST", path, {"root": "00" * 32})).status == 200
        refused = await api.send("POST", path, {"root": "11" * 32})
        assert (refused.status, refused.json["code"]) == (409, "statement-changed")
        assert operations_of(api.core, SignStatement)[0] == SignStatement("xyz", "2026-10")

    run_api(test)


def test_a_round_is_asked_for_by_peer() -> None:
    async def test(api: Harness) -> None:
        assert (await api.send("POST", "/v1/peers/xyz/reconcile")).json["ok"]
        assert operations_of(api.core, ReconcilePeer) == [ReconcilePeer("xyz")]
        assert (await api.send("POST", "/v1/peers/X_Z/reconcile")).status == 404

    run_api(test)
