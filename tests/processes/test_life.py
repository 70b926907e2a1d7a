"""Two daemons through what operators and fate do to them: pairing, suspension, death, reload, restore, a full disk."""

import contextlib
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roamd.demo import objects
from tests.support.daemons import Company, Fleet

NOW_MS = 1_780_000_000_000
SETTLED = {"DELIVERED", "ACCEPTED", "FINAL"}


def bill(name: str, kwh: float = 20.0) -> dict[str, Any]:
    return objects.cdr(name, objects.LISTED_DRIVER, NOW_MS) | {"total_energy": kwh}


def hand_in(company: Company, *names: str) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = company.api.need("POST", "/v1/records", [bill(name) for name in names])
    return answers


def law(company: Company) -> dict[str, int]:
    return dict(company.api.get("/v1/status")["records"])


def received(company: Company) -> Counter[str]:
    """How often the backend was told of each record."""
    events = company.api.items("/v1/events?limit=1000")
    return Counter(event["data"]["record_id"] for event in events if event["type"] == "record.received")


def wait_settled(fleet: Fleet, company: Company) -> None:
    fleet.wait_until("nothing being queued any more", lambda: law(company)["queued"] == 0)


def verified(company: Company) -> bool:
    return bool(company.daemon.run("ledger", "verify", "--json").json["ok"])  # type: ignore[index]


def logged(company: Company, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in company.daemon.log_file.read_text().splitlines()]
    return [line for line in found if line["event"] == event]


def two(fleet: Fleet, *, backend: bool = False, settings: str = "") -> tuple[Company, Company]:
    cso = fleet.company("cso", "BE*RMC", backend=backend, settings=settings)
    csp = fleet.company("csp", "FR*RMD", backend=backend, settings=settings)
    fleet.start(cso, csp)
    return cso, csp


def linked(fleet: Fleet) -> tuple[Company, Company]:
    cso, csp = two(fleet)
    fleet.pair(cso, csp)
    return cso, csp


# --- pairing ----------------------------------------------------------------------------------------------------


def test_two_directories_pair_and_roam_by_plain_http_alone(fleet: Fleet) -> None:
    cso, csp = two(fleet, backend=True)
    line = cso.api.need("POST", "/v1/invites", {})["line"]
    joined = csp.api.need("POST", "/v1/pairings", {"line": line, "label": "abc"})
    assert joined["state"] == "PENDING"
    (waiting,) = cso.api.items("/v1/peers")
    assert (waiting["state"], waiting["link"], waiting["words"]) == ("PENDING", "DOWN", joined["words"])
    assert cso.api.need("POST", f"/v1/peers/{waiting['peer']}/confirm")["state"] == "PAIRED"
    cso.partners["csp"], csp.partners["cso"] = waiting["peer"], "abc"
    fleet.wait_linked(cso, csp)
    card = objects.LISTED_DRIVER.user_credential(NOW_MS)
    csp.api.need("PUT", f"/v1/user-credentials/{card['uid']}", card)
    fleet.wait_until("the card arriving", lambda: mirrored(cso, "csp", "user-credentials"))
    cso.api.need("PUT", f"/v1/locations/{objects.LOCATION_ID}", objects.location(NOW_MS))
    for driver, source in ((objects.LISTED_DRIVER, "WHITELIST"), (objects.LIVE_DRIVER, "BACKEND")):
        answer = cso.api.need("POST", "/v1/authorizations", {"credential": driver.credential()})
        assert (answer["decision"], answer["source"], answer["home_csp"]) == ("ALLOWED", source, waiting["peer"])
    seen = f"/v1/peers/abc/locations/{objects.LOCATION_ID}"
    assert fleet.wait_until("the location arriving", lambda: csp.api.find(seen)) == objects.location(NOW_MS)
    hand_in(cso, "HTTP-1")
    wait_settled(fleet, cso)
    shown = cso.api.get("/v1/records/HTTP-1")
    assert shown["state"] == "DELIVERED"
    assert shown["evidence"]["receipt"]["sequence"] == 1
    assert cso.api.get("/v1/ledger/verify")["ok"]


# --- suspend, resume, retry, remove -----------------------------------------------------------------------------


def test_a_suspended_partner_gets_nothing_until_resumed_and_a_removed_one_never(fleet: Fleet) -> None:
    cso, csp = linked(fleet)
    label = cso.partners["csp"]
    cso.daemon.run("peers", "suspend", label)
    fleet.wait_until("the link going down", lambda: not csp.link_is_up(cso))
    assert [answer["state"] for answer in hand_in(cso, "S-1", "S-2")] == ["QUEUED", "QUEUED"]
    csp.daemon.run("peers", "retry", csp.partners["cso"])
    assert not cso.link_is_up(csp)
    assert received(csp) == {}
    cso.daemon.run("peers", "resume", label)
    fleet.wait_linked(cso, csp)
    wait_settled(fleet, cso)
    assert received(csp) == {"S-1": 1, "S-2": 1}

    csp.daemon.stop()
    hand_in(cso, "R-1", "R-2")
    refused = cso.daemon.run("peers", "remove", label, expect=(1,))
    assert "2 records wait" in refused.err
    cso.daemon.run("peers", "remove", label, "--park")
    assert cso.api.request("GET", f"/v1/peers/{label}").status == 404
    assert law(cso) == {"accepted": 4, "settled": 2, "queued": 0, "parked": 2}
    assert cso.api.get("/v1/records/R-1")["state"] == "PARKED"
    fleet.start(csp)
    csp.daemon.run("peers", "retry", csp.partners["cso"])
    refusal = fleet.wait_until("being refused", lambda: csp.peer(cso)["last_error"])
    assert "refuses this endpoint" in refusal
    assert verified(cso)

    # The two pair again. What was parked stays so until a person decides, and then goes once.
    cso.partners.clear()
    csp.daemon.run("peers", "remove", csp.partners.pop("cso"))
    fleet.pair(cso, csp)
    hand_in(cso, "N-1")
    wait_settled(fleet, cso)
    assert received(csp) == {"S-1": 1, "S-2": 1, "N-1": 1}
    assert law(cso)["parked"] == 2
    cso.daemon.run("records", "retry", "R-1")
    cso.daemon.run("records", "reroute", "R-2", cso.partners["csp"])
    wait_settled(fleet, cso)
    assert received(csp) == {"S-1": 1, "S-2": 1, "N-1": 1, "R-1": 1, "R-2": 1}
    assert law(cso) == {"accepted": 5, "settled": 5, "queued": 0, "parked": 0}
    assert verified(cso)
    assert verified(csp)


def test_a_removed_partners_records_never_go_to_another_company_of_the_same_name(fleet: Fleet) -> None:
    cso, csp = linked(fleet)
    csp.daemon.stop()
    hand_in(cso, "OLD-1")
    cso.daemon.run("peers", "remove", cso.partners.pop("csp"), "--park")
    other = fleet.company("other", "FR*RMD", "csp", backend=False)
    config = other.daemon.config.read_text().replace("Test OTHER", "Test CSP")
    other.daemon.config.write_text(config)
    fleet.start(other)
    fleet.pair(cso, other)
    hand_in(cso, "NEW-1")
    wait_settled(fleet, cso)
    assert received(other) == {"NEW-1": 1}
    assert law(cso) == {"accepted": 2, "settled": 1, "queued": 0, "parked": 1}
    assert verified(cso)
    assert verified(other)


# --- death and return -------------------------------------------------------------------------------------------


def test_killed_in_the_middle_of_records_and_restarted_both_lose_and_double_nothing(fleet: Fleet) -> None:
    cso, csp = linked(fleet)
    names = [f"K-{number:03}" for number in range(120)]
    for number in range(0, 120, 10):
        hand_in(cso, *names[number : number + 10])
        if number == 50:
            csp.daemon.kill()
        if number == 80:
            cso.daemon.kill()
            fleet.start(cso, csp)
    csp.daemon.kill()
    cso.daemon.stop()
    fleet.start(csp, cso)
    wait_settled(fleet, cso)
    assert law(cso) == {"accepted": 120, "settled": 120, "queued": 0, "parked": 0}
    assert received(csp) == dict.fromkeys(names, 1)
    assert verified(cso)
    assert verified(csp)


def test_sigterm_ends_with_a_goodbye_and_zero_within_three_seconds(fleet: Fleet) -> None:
    cso, csp = linked(fleet)
    began = time.monotonic()
    assert csp.daemon.stop(3.0) == 0
    assert time.monotonic() - began < 3.0
    down = fleet.wait_until("the link going down", lambda: logged(cso, "link_down") or None)
    assert [line["reason"] for line in down] == ["SHUTTING_DOWN"]
    assert logged(csp, "daemon_stopped")


# --- reload -----------------------------------------------------------------------------------------------------


def test_reload_takes_a_good_file_refuses_a_bad_one_and_keeps_the_links(fleet: Fleet) -> None:
    cso, csp = linked(fleet)
    before = cso.peer(csp)["last_up_at"]
    extra = cso.daemon.directory / "conf.d" / "test.toml"
    good = extra.read_text()
    extra.write_text(good + '[log]\nlevel = "debug"\n\n[link]\nheartbeat_s = 20\nlisten = "127.0.0.1:1"\n')
    done = cso.daemon.run("reload", "--json")
    assert done.json == {"restart_needed": ["link.listen"]}
    extra.write_text(good + '[log]\nlevel = "loud"\n\n[link]\nheartbeat_z = 20\n')
    refused = cso.daemon.run("reload", expect=(78,))
    assert "test.toml:4: log.level" in refused.err
    assert "test.toml:7: link.heartbeat_z" in refused.err
    cso.daemon.run("check", expect=(78,))
    extra.write_text(good)
    assert cso.daemon.run("reload", "--json").json == {"restart_needed": []}
    assert cso.peer(csp)["last_up_at"] == before, "links stay up"
    assert logged(cso, "link_down") == []


# --- backup and restore -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["the author", "the receiver"])
def test_restored_to_an_older_copy_both_say_so_and_everything_converges(fleet: Fleet, who: str) -> None:
    cso, csp = linked(fleet)
    restored, other = (cso, csp) if who == "the author" else (csp, cso)
    hand_in(cso, "OLD-1", "OLD-2")
    cso.api.need("PUT", f"/v1/locations/{objects.LOCATION_ID}", objects.location(NOW_MS))
    wait_settled(fleet, cso)
    copy = fleet.room / "copy.db"
    restored.daemon.run("backup", str(copy))  # while it runs
    hand_in(cso, "GONE-1", "GONE-2", "GONE-3")
    cso.api.need("PUT", f"/v1/tariffs/{objects.TARIFF_ID}", objects.tariff(NOW_MS))
    news = objects.location(NOW_MS) | {"name": "Renamed"}
    cso.api.need("PUT", f"/v1/locations/{objects.LOCATION_ID}", news)
    wait_settled(fleet, cso)
    fleet.wait_until("the tariff arriving", lambda: mirrored(csp, "cso", "tariffs"))
    restored.daemon.run("restore", str(copy), expect=(1,))  # not while it runs
    restored.daemon.stop()
    restored.daemon.run("restore", str(copy))
    fleet.start(restored)
    hand_in(cso, "GONE-2", "NEW-1")  # before the link is there, perhaps, or after
    fleet.wait_linked(cso, csp)
    wait_settled(fleet, cso)

    names = {"OLD-1", "OLD-2", "GONE-1", "GONE-2", "GONE-3", "NEW-1"}
    assert logged(restored, "store_was_restored")
    if who == "the author":
        assert cso.api.get("/v1/status")["alarms"], "who was rolled back says so"
        assert logged(cso, "ledger_rolled_back")
        assert logged(csp, "peer_opened_new_epoch")
    else:
        assert csp.api.get("/v1/status")["alarms"], "who was rolled back says so"
        assert cso.api.get("/v1/status")["alarms"], "and its partner sees it"
    assert law(cso) == {"accepted": 6, "settled": 6, "queued": 0, "parked": 0}
    assert {row["record_id"] for row in csp.api.items("/v1/records?direction=in")} == names
    assert len(csp.api.items("/v1/records?direction=in")) == 6
    assert received(csp) == dict.fromkeys(names, 1)
    assert verified(restored)
    assert verified(other)
    fleet.wait_until("the feeds being equal", lambda: feeds_equal(cso, csp))


def test_restored_behind_an_epoch_the_author_regains_every_epoch(fleet: Fleet) -> None:
    cso, csp = linked(fleet)
    hand_in(cso, "E-1")
    wait_settled(fleet, cso)
    copy = fleet.room / "copy.db"
    cso.daemon.run("backup", str(copy))
    for number in (2, 4):
        hand_in(cso, f"E-{number}")
        wait_settled(fleet, cso)
        cso.daemon.stop()
        cso.daemon.run("restore", str(copy))
        fleet.start(cso)
        hand_in(cso, f"E-{number + 1}")
        fleet.wait_linked(cso, csp)
        wait_settled(fleet, cso)
    assert law(cso) == {"accepted": 5, "settled": 5, "queued": 0, "parked": 0}
    assert received(csp) == {f"E-{number}": 1 for number in range(1, 6)}
    assert verified(cso)
    assert verified(csp)


def mirrored(follower: Company, publisher: str, feed: str) -> list[Any] | None:
    """What is there of a feed; None while there is nothing."""
    return follower.api.items(f"/v1/peers/{follower.partners[publisher]}/{feed}") or None


def feeds_equal(cso: Company, csp: Company) -> bool:
    return all(cso.api.items(f"/v1/{feed}") == (mirrored(csp, "cso", feed) or []) for feed in ("locations", "tariffs"))


# --- a full disk ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 12 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_on_a_full_disk_intake_is_refused_and_goes_on_when_there_is_room(small_disk: Path, fleet: Fleet) -> None:
    quiet = "[discovery]\nmdns = false\n"
    csp = fleet.company("csp", "FR*RMD", backend=False, settings=quiet)
    cso = fleet.company(
        "cso",
        "BE*RMC",
        backend=False,
        settings=f'{quiet}[storage]\nballast_mib = 2\n[endpoint]\nstate = "{small_disk}"\n',
    )
    fleet.start(cso, csp)
    fleet.pair(cso, csp)
    hand_in(cso, "BEFORE")
    hog = small_disk / "hog"
    with hog.open("wb", 0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
    refused = fleet.wait_until("intake closing", lambda: full(cso, "DURING"))
    assert refused == "store-full"
    assert cso.link_is_up(csp)
    hog.unlink()
    fleet.wait_until("intake opening", lambda: full(cso, "AFTER") is None or None)
    wait_settled(fleet, cso)
    assert received(csp).keys() >= {"BEFORE", "AFTER"}
    assert verified(cso)
    assert verified(csp)


def full(company: Company, name: str) -> str | None:
    reply = company.api.request("POST", "/v1/records", bill(name))
    assert reply.status in (202, 507), reply.body
    return str(reply.body["code"]) if reply.status == 507 else None
