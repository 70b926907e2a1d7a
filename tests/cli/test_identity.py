"""`roamd identity`: a key is replaced by files alone, each step whole, and goes on where it was cut off."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from roamd.cli import main
from roamd.errors import ConfigError
from roamd.trust.identity import Identity
from roamd.trust.succession import load_identity, succession_of_own
from tests.support.fake_api import KEY, FakeApi

FLAGS = ["--party", "DE*ABC", "--role", "cso", "--name", "ABC"]
Roamd = Callable[..., int]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as fake:
        fake.routes["GET /v1/identity"] = told()
        yield fake


@pytest.fixture
def home(api: FakeApi, tmp_path: Path) -> Path:
    directory = tmp_path / "abc"
    assert main(["init", str(directory), *FLAGS, "--api", api.address]) == 0
    (directory / "api.key").write_text(KEY + "\n")
    return directory


@pytest.fixture
def roamd(home: Path, capsys: pytest.CaptureFixture[str]) -> Roamd:
    capsys.readouterr()
    return lambda *words: main(["identity", *words, "-c", str(home)])


def told(*lacking: str, announced: bool = True, overlap_over: bool = False) -> dict[str, Any]:
    key = {"number": 0, "state": "IN_USE", "key_id": "ABC", "made_at": None, "taken_until": None}
    said = {"endpoint_id": "ABC", "announced": announced, "overlap_over": overlap_over}
    return said | {"keys": [key], "not_told": list(lacking)}


def loaded(home: Path) -> Identity:
    return load_identity(home / "identity.key", home / "identity.crt", home / "identity.succession")


def test_rotate_announces_and_switch_puts_to_use(home: Path, roamd: Roamd, capsys: pytest.CaptureFixture[str]) -> None:
    before = loaded(home)
    assert roamd("rotate") == 0
    assert "Restart the daemon" in capsys.readouterr().out
    waiting = loaded(home)
    assert waiting.certificate_der == before.certificate_der
    assert succession_of_own(waiting).announced is not None
    assert (home / "identity-next.key").stat().st_mode & 0o777 == 0o600
    assert roamd("switch") == 0
    after = loaded(home)
    assert after.endpoint_id == before.endpoint_id
    assert after.certificate_der != before.certificate_der
    assert succession_of_own(after).in_use == 1
    assert sorted(path.name for path in home.glob("identity*")) == [
        "identity-retired-0.key", "identity.crt", "identity.key", "identity.succession",
    ]  # fmt: skip
    assert main(["check", "-c", str(home)]) == 0


def test_the_overlap_is_what_was_asked_for(home: Path, roamd: Roamd) -> None:
    assert roamd("rotate", "--overlap-days", "7") == 0
    step = succession_of_own(loaded(home)).announced
    assert step is not None
    assert step.until_ms - step.made_ms == 7 * 24 * 3600 * 1000
    assert roamd("rotate", "--overlap-days", "0") == 2


def test_a_second_key_is_not_made_while_one_waits(home: Path, roamd: Roamd, capsys: pytest.CaptureFixture[str]) -> None:
    assert roamd("rotate") == 0
    assert roamd("rotate") == 1
    assert "made already" in capsys.readouterr().err


def test_rotate_goes_on_with_the_key_that_it_had_made(home: Path, roamd: Roamd) -> None:
    made = Identity.create(1_780_000_000_000)
    made.save(home / "identity-next.key", home / "identity-next.crt")
    assert roamd("rotate") == 0
    assert succession_of_own(loaded(home)).certificates[1] == made.certificate_der


@pytest.mark.parametrize("done", [1, 2])
def test_switch_goes_on_where_it_was_cut_off(home: Path, roamd: Roamd, done: int) -> None:
    assert roamd("rotate") == 0
    steps = [("identity.key", "identity-retired-0.key"), ("identity-next.key", "identity.key")]
    for before, after in steps[:done]:
        (home / before).rename(home / after)
    assert roamd("switch") == 0
    assert succession_of_own(loaded(home)).in_use == 1


@pytest.mark.parametrize("done", [1, 2])
def test_whoever_starts_the_daemon_in_between_is_told_what_ends_it(
    home: Path, roamd: Roamd, capsys: pytest.CaptureFixture[str], done: int
) -> None:
    assert roamd("rotate") == 0
    steps = [("identity.key", "identity-retired-0.key"), ("identity-next.key", "identity.key")]
    for before, after in steps[:done]:
        (home / before).rename(home / after)
    assert main(["check", "-c", str(home)]) == 78
    assert "`roamd identity switch`" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="`roamd identity switch` ends it"):
        loaded(home)


@pytest.mark.parametrize("left", [("identity-next.crt",), ("identity-next.key.new", "identity-next.crt")])
def test_what_a_rotate_that_was_cut_off_left_is_never_put_to_use(
    home: Path, roamd: Roamd, left: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = loaded(home)
    stray = Identity.create(1_780_000_000_000)
    stray.save(home / "stray.key", home / "stray.crt")
    for name in left:
        (home / name).write_bytes((home / ("stray.crt" if "crt" in name else "stray.key")).read_bytes())
    assert roamd("switch") == 1
    assert "no next key" in capsys.readouterr().err
    assert loaded(home).certificate_der == before.certificate_der
    assert roamd("rotate") == 0
    assert roamd("switch") == 0
    assert not list(home.glob("identity-next*"))
    assert stray.certificate_der not in succession_of_own(loaded(home)).certificates


def test_a_next_key_without_its_certificate_is_told(
    home: Path, roamd: Roamd, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "identity-next.key").write_text("no key")
    assert roamd("rotate") == 1
    assert "delete it" in capsys.readouterr().err
    assert not (home / "identity.succession").exists()


def test_a_key_that_was_not_announced_does_not_take_a_lost_ones_place(home: Path, roamd: Roamd) -> None:
    Identity.create(1_780_000_000_000).save(home / "identity-next.key", home / "identity-next.crt")
    (home / "identity.key").unlink()
    assert roamd("switch") == 1
    assert not (home / "identity.key").exists()


def test_another_key_in_the_next_ones_place_is_not_put_to_use(
    home: Path, roamd: Roamd, capsys: pytest.CaptureFixture[str]
) -> None:
    assert roamd("rotate") == 0
    (home / "identity-next.key").unlink()
    (home / "identity-next.crt").unlink()
    Identity.create(1_780_000_000_000).save(home / "identity-next.key", home / "identity-next.crt")
    assert roamd("switch") == 1
    assert "not what" in capsys.readouterr().err
    assert succession_of_own(loaded(home)).in_use == 0


def test_files_have_the_owner_of_the_present_ones(home: Path, roamd: Roamd) -> None:
    if os.getuid() != 0:
        pytest.skip("only root gives files away")
    for name in ("identity.key", "identity.crt"):
        os.chown(home / name, 1234, 1235)
    previous = os.umask(0o077)
    try:
        assert roamd("rotate") == 0
    finally:
        os.umask(previous)
    for name in ("identity-next.key", "identity-next.crt", "identity.succession"):
        made = (home / name).stat()
        assert (made.st_uid, made.st_gid) == (1234, 1235)
    assert (home / "identity.succession").stat().st_mode & 0o777 == 0o644


def test_switch_waits_for_partners_that_do_not_know(
    home: Path, roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert roamd("rotate") == 0
    api.routes["GET /v1/identity"] = told("xyz", "hub")
    assert roamd("switch") == 1
    assert "xyz, hub" in capsys.readouterr().err
    assert succession_of_own(loaded(home)).in_use == 0
    assert roamd("switch", "--force") == 0


def test_switch_wants_the_daemon_to_have_announced_it(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert roamd("rotate") == 0
    api.routes["GET /v1/identity"] = told(announced=False)
    assert roamd("switch") == 1
    assert "restart it" in capsys.readouterr().err


def test_switch_without_a_next_key_says_what_makes_one(roamd: Roamd, capsys: pytest.CaptureFixture[str]) -> None:
    assert roamd("switch") == 1
    assert "roamd identity rotate" in capsys.readouterr().err


def test_a_key_that_systemd_hands_over_is_named_by_hand(home: Path, tmp_path: Path, roamd: Roamd) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (home / "identity.key").rename(kept / "identity.key")
    assert roamd("rotate", "--key", str(kept / "identity.key")) == 0
    assert roamd("switch", "--key", str(kept / "identity.key")) == 0
    assert sorted(path.name for path in kept.iterdir()) == ["identity-retired-0.key", "identity.key"]


def test_it_shows_the_keys_and_who_does_not_know(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.routes["GET /v1/identity"] = told("xyz\x1b[2J")
    assert roamd() == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "Endpoint id: ABC"
    assert "IN_USE" in out
    assert "xyz\\x1b[2J" in err
    api.routes["GET /v1/identity"] = told()
    assert roamd() == 0
    assert "roamd identity switch" in capsys.readouterr().err
    api.routes["GET /v1/identity"] = told("xyz", announced=False)
    assert roamd() == 0
    assert "key in use, and refuse it: pair with them anew: xyz" in capsys.readouterr().err
    api.routes["GET /v1/identity"] = told(overlap_over=True)
    assert roamd() == 0
    assert "nothing breaks" in capsys.readouterr().err
    assert roamd("--json") == 0
    assert json.loads(capsys.readouterr().out) == told(overlap_over=True)
