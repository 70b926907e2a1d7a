"""`roamd init` and `roamd check`: a directory that runs, and every reason why one does not."""

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from roamd.cli import main
from roamd.cli.init import _make
from roamd.config import load
from roamd.config.load import from_flags
from roamd.trust.identity import Identity

FLAGS = ["--party", "DE*ABC", "--role", "cso", "--name", "ABC Charging", "--api", "127.0.0.1:0"]


@pytest.fixture
def made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    directory = tmp_path / "abc"
    assert main(["init", str(directory), *FLAGS]) == 0
    capsys.readouterr()
    return directory


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_made_directory_has_all_that_runs_and_guards_its_secrets(made: Path) -> None:
    assert sorted(path.name for path in made.iterdir()) == [
        "api.key",
        "identity.crt",
        "identity.key",
        "roamd.toml",
        "state",
    ]
    assert [mode(made / name) for name in ("identity.key", "api.key", "roamd.toml", "state", "")] == [
        0o600,
        0o600,
        0o600,
        0o700,
        0o700,
    ]


def test_what_it_says_is_what_a_newcomer_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", str(tmp_path / "abc"), *FLAGS])
    said = capsys.readouterr()
    assert f"roamd run -c {tmp_path / 'abc' / 'roamd.toml'}" in said.out
    assert "identity.key" in said.err
    assert "if it is lost so is the company's identity" in said.err
    assert "never dialled" in said.err


def test_the_endpoint_id_printed_is_that_of_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", str(tmp_path / "abc"), *FLAGS, "--json"])
    answer = json.loads(capsys.readouterr().out)
    identity = Identity.load(tmp_path / "abc" / "identity.key", tmp_path / "abc" / "identity.crt")
    assert answer["endpoint_id"] == identity.endpoint_id


def test_every_flag_arrives_in_the_configuration(tmp_path: Path) -> None:
    more = ["--role", "csp", "--party", "NL-XYZ", "--listen", "127.0.0.1:1", "--advertise", "a.example:2"]
    more += ["--pairing", "127.0.0.1:3", "--advertise-pairing", "a.example:4", "--backend", "http://127.0.0.1:9/roamd"]
    assert main(["init", str(tmp_path / "abc"), *FLAGS, *more]) == 0
    config = load(tmp_path / "abc" / "roamd.toml", {})
    assert config.endpoint.parties == ("DEABC", "NLXYZ")
    assert config.endpoint.roles == ("cso", "csp")
    found = map(str, (config.link.listen, config.link.advertise, config.pairing.listen, config.pairing.advertise))
    assert list(found) == ["127.0.0.1:1", "a.example:2", "127.0.0.1:3", "a.example:4"]
    assert config.backend.url == "http://127.0.0.1:9/roamd"


def test_a_directory_in_use_is_left_alone(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in made.iterdir()}
    assert main(["init", str(made), *FLAGS]) == 1
    assert "nothing was changed" in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in made.iterdir()} == before


def test_an_empty_directory_is_used(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path), *FLAGS]) == 0


def test_wrong_values_are_told_all_at_once_by_their_flags_and_make_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = ["--party", "Germany", "--role", "cpo", "--name", "x", "--listen", "nowhere"]
    assert main(["init", str(tmp_path / "abc"), *bad]) == 2
    assert [line.split(":")[1].strip() for line in capsys.readouterr().err.splitlines()] == [
        "--party",
        "--role",
        "--listen",
    ]
    assert not (tmp_path / "abc").exists()


def test_a_try_that_fails_half_way_leaves_no_trace(tmp_path: Path) -> None:
    directory = tmp_path / "abc"
    values: dict[str, object] = {"endpoint.parties": ["DE*ABC"], "endpoint.roles": ["cso"], "endpoint.name": "ABC"}
    # The key file's directory is not there, so the identity is made and then the third step fails.
    config = from_flags(directory / "roamd.toml", {**values, "api.key_file": "missing/api.key"}, {})
    with pytest.raises(FileNotFoundError):
        _make(directory, config, "")
    assert not directory.exists()


def test_a_place_that_cannot_be_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file" / "abc"), *FLAGS]) == 1
    assert capsys.readouterr().err == f"roamd: {tmp_path / 'file' / 'abc'}: Not a directory\n"


# --- check ------------------------------------------------------------------------------------------------------


def check(made: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = main(["check", "-c", str(made)])
    return code, capsys.readouterr().err.replace(f"{made}/", "").splitlines()


def test_a_made_directory_passes(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", str(made), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_a_key_that_others_can_read_is_told(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "identity.key").chmod(0o640)
    code, told = check(made, capsys)
    assert code == 78
    assert told == [
        f"roamd: identity.key: others can read it (mode 0640); chmod 600 {made}/identity.key".replace(f"{made}/", "")
    ]


def test_everything_missing_is_told_at_once(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "api.key").unlink()
    (made / "identity.key").unlink()
    (made / "state").rmdir()
    (made / "state").write_text("")
    code, told = check(made, capsys)
    assert code == 78
    assert [line.split(":")[1].strip() for line in told] == ["identity.key", "api.key", "state"]


def test_a_certificate_of_another_key_is_told(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", str(tmp_path / "other"), *FLAGS])
    capsys.readouterr()
    (tmp_path / "other" / "identity.crt").replace(made / "identity.crt")
    code, told = check(made, capsys)
    assert code == 78
    assert "belongs to another key" in told[0]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("link.listen", "192.0.2.1:63119", "link.listen: 192.0.2.1:63119: it cannot be listened on"),
        (
            "pairing.listen",
            "no-such-host.invalid:1024",
            "pairing.listen: no-such-host.invalid:1024: the name is not known",
        ),
        ("api.listen", "unix:/nowhere/at/all.sock", "api.listen: unix:/nowhere/at/all.sock: there is no directory"),
        ("api.listen", "unix:/" + "x" * 120, "the path is too long for a socket"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_told(
    made: Path, capsys: pytest.CaptureFixture[str], key: str, value: str, expected: str
) -> None:
    assert main(["check", "-c", str(made), "--set", f"{key}={value}"]) == 78
    assert expected in capsys.readouterr().err


def test_a_port_in_use_is_no_fault_because_it_is_mostly_our_own(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert main(["check", "-c", str(made), "--set", f"link.listen=127.0.0.1:{port}"]) == 0
    capsys.readouterr()


def test_an_unencrypted_api_for_everyone_is_remarked(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", str(made), "--set", "api.listen=0.0.0.0:8119"]) == 0
    assert "without encryption" in capsys.readouterr().err


def test_the_configuration_can_come_from_the_environment(
    made: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROAMD_CONFIG", os.fspath(made))
    assert main(["check"]) == 0
    monkeypatch.setenv("ROAMD__LINK__LISTEN", "x")
    assert main(["check"]) == 78
    assert "environment ROAMD__LINK__LISTEN: link.listen" in capsys.readouterr().err
