"""The configuration in layers, and its faults: all at once, each with file, line, key and what would be right."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from roamd.config import Address, Config, UnixAddress, load
from roamd.config.schema import SECTIONS, TABLES, keys_of, restart_needed
from roamd.errors import ConfigError

MINIMAL = '[endpoint]\nparties = ["DE*ABC"]\nroles = ["cso"]\nname = "ABC"\n'

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str, name: str = "roamd.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return tmp_path / "roamd.toml"

    return _write


def faults(
    path: Path, environ: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, flags)
    return [line.replace(f"{path.parent}/", "") for line in caught.value.lines]


def minimal(write: Write, more: str = "") -> Config:
    return load(write(MINIMAL + more), {})


# --- what is read -----------------------------------------------------------------------------------------------


def test_the_least_that_runs_gets_every_default(write: Write, tmp_path: Path) -> None:
    config = minimal(write)
    assert config.endpoint.parties == ("DEABC",)
    assert config.endpoint.identity_key == tmp_path / "identity.key"
    assert config.endpoint.state == tmp_path / "state"
    assert config.link.listen == Address("0.0.0.0", 63119)
    assert config.link.advertise is None
    assert config.link.heartbeat_s == 30.0
    assert config.pairing.listen == Address("0.0.0.0", 63120)
    assert config.pairing.advertise is None
    assert config.api.listen == Address("127.0.0.1", 8119)
    assert config.webhooks == ()
    assert config.directory == tmp_path


def test_pairing_takes_its_hosts_from_the_link(write: Write) -> None:
    more = '[link]\nlisten = "[::1]:5000"\nadvertise = "roamd.abc.example:5000"\n[pairing]\nlisten = "10.0.0.1:7000"\n'
    config = minimal(write, more)
    assert str(config.link.listen) == "[::1]:5000"
    assert config.pairing.advertise == Address("roamd.abc.example", 7000)
    assert load(write(MINIMAL + '[link]\nlisten = "[::1]:5000"\n'), {}).pairing.listen == Address("::1", 63120)


def test_a_system_chosen_link_port_means_a_system_chosen_pairing_port(write: Write) -> None:
    assert minimal(write, '[link]\nlisten = "127.0.0.1:0"\n').pairing.listen == Address("127.0.0.1", 0)


def test_later_wins_from_file_to_flag(write: Write) -> None:
    path = write(
        MINIMAL + '[link]\nhandshakes = 1\nheartbeat_s = 1\n[log]\nlevel = "debug"\n[backend]\ntimeout_ms = 100\n'
    )
    write("[link]\nhandshakes = 2\nheartbeat_s = 2\n[backend]\ntimeout_ms = 200\n", "conf.d/10-a.toml")
    write("[link]\nhandshakes = 3\n[backend]\ntimeout_ms = 300\n", "conf.d/20-b.toml")
    write("[link]\nhandshakes = 99\n", "conf.d/ignored.txt")
    config = load(path, {"ROAMD__LINK__HANDSHAKES": "4", "ROAMD__BACKEND__TIMEOUT_MS": "400"}, {"link.handshakes": "5"})
    assert (config.link.handshakes, config.backend.timeout_ms) == (5, 400)
    assert (config.link.heartbeat_s, config.log.level) == (2.0, "debug")


def test_the_files_of_conf_d_are_read_by_name_whenever_they_were_written(write: Write) -> None:
    path = write(MINIMAL)
    for number in (3, 9, 1, 7, 5, 2, 8, 4, 6):
        write(f"[link]\nhandshakes = {number}\n", f"conf.d/{number}.toml")
    assert load(path, {}).link.handshakes == 9


def test_the_environment_reads_numbers_truths_lists_and_texts(write: Write) -> None:
    environ = {
        "ROAMD__DISCOVERY__MDNS": "false",
        "ROAMD__ENDPOINT__PARTIES": "DE*ABC, nl-xyz",
        "ROAMD__ENDPOINT__ROLES": '["cso", "csp"]',
        "ROAMD__ENDPOINT__NAME": "42",
        "ROAMD__LINK__HEARTBEAT_S": "2.5",
        "ROAMD_CONFIG": "is no key",
    }
    config = load(write(MINIMAL), environ)
    assert not config.discovery.mdns
    assert config.endpoint.parties == ("DEABC", "NLXYZ")
    assert config.endpoint.roles == ("cso", "csp")
    assert config.endpoint.name == "42"
    assert config.link.heartbeat_s == 2.5


def test_a_socket_path_starts_at_the_files_directory(write: Write, tmp_path: Path) -> None:
    config = minimal(write, '[api]\nlisten = "unix:api.sock"\nkey_file = "/etc/key"\n')
    assert config.api.listen == UnixAddress(tmp_path / "api.sock")
    assert config.api.key_file == Path("/etc/key")


def test_webhooks_and_candidates_are_lists_of_tables(write: Write) -> None:
    config = minimal(
        write,
        '[[webhooks]]\nurl = "https://a.example/x/"\nsecret = "s"\n[[webhooks]]\nurl = "https://b.example"\n'
        'secret = "s"\nname = "erp"\nevents = ["record.received"]\n[[candidates]]\naddress = "b.example:63119"\n',
    )
    assert [webhook.label for webhook in config.webhooks] == ["https://a.example/x", "erp"]
    assert config.webhooks[1].events == ("record.received",)
    assert config.candidates[0].address == "b.example:63119"


# --- faults -----------------------------------------------------------------------------------------------------


def test_every_fault_of_every_layer_comes_at_once(write: Write) -> None:
    path = write(
        '[endpoint]\nparties = ["Germany"]\nroles = ["cpo"]\n\n[link]\nlisen = "x"\nhandshakes = "many"\n[colour]\n'
    )
    write("[log]\nlevel = 3\n", "conf.d/10.toml")
    environ = {"ROAMD__API__LISTEN": "localhost", "ROAMD__API__PORT": "1"}
    found = faults(path, environ, {"link.listen": ":5", "link.port": "5"})
    assert found == [
        "roamd.toml:6: link.lisen: there is no such key; did you mean listen?",
        f"roamd.toml:8: colour: there is no such section; there are {', '.join(SECTIONS)}",
        (
            "environment ROAMD__API__PORT: api.port: there is no such key; "
            "it is ROAMD__SECTION__KEY, and lists of tables stand in files only"
        ),
        "flag --set: link.port: there is no such key; it is SECTION.KEY, as in roamd.toml",
        (
            'roamd.toml:2: endpoint.parties: "Germany" is not a party: '
            'it is two letters and three letters or digits, such as "DE*ABC"'
        ),
        'roamd.toml:3: endpoint.roles: "cpo" is not known; write "cso", "csp" or "clearing-house"',
        'roamd.toml:1: endpoint.name: it is missing; write name = "ABC Charging"',
        'flag --set: link.listen: "" is no host; write a name or an IP address',
        'roamd.toml:7: link.handshakes: "many" is not a whole number; write 1 to 1024',
        'environment ROAMD__API__LISTEN: api.listen: "localhost" has no port; write host:port, such as "0.0.0.0:63119"',
        'conf.d/10.toml:2: log.level: 3 is not known; write "debug", "info", "warning" or "error"',
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[link]\nlisten = \n", "roamd.toml:6: it is not TOML: Invalid value"),
        ("[link\n", "roamd.toml:5: it is not TOML"),
        ("a = " + "[" * 5000, "roamd.toml:1: it is nested too deeply"),
        ("[endpoint]\n", "roamd.toml:5: it is not TOML: Cannot declare"),
        ('[link]\nlisten = "a b:1"\n', 'roamd.toml:6: link.listen: "a b" is no host'),
        (
            '[link]\nlisten = "::1:80"\n',
            'roamd.toml:6: link.listen: "::1" is no host; an IPv6 address stands in brackets',
        ),
        ('[link]\nlisten = "h:70000"\n', "roamd.toml:6: link.listen: port 70000 does not exist"),
        ('[link]\nlisten = "h:²"\n', 'roamd.toml:6: link.listen: "h:\\u00b2" has no port'),
        ("[link]\nlisten = 63119\n", "roamd.toml:6: link.listen: 63119 is not text; put it in quotes"),
        ('[link]\nadvertise = "0.0.0.0:1"\n', "roamd.toml:6: link.advertise: 0.0.0.0 is where to listen"),
        ('[link]\nadvertise = "h:0"\n', "roamd.toml:6: link.advertise: port 0 does not exist"),
        ("[link]\nhandshakes = true\n", "roamd.toml:6: link.handshakes: true is not a whole number"),
        ("[link]\nhandshakes = 1.5\n", "roamd.toml:6: link.handshakes: 1.5 is not a whole number"),
        ("[link]\nheartbeat_s = nan\n", "roamd.toml:6: link.heartbeat_s: nan is out of range"),
        ("[discovery]\nmdns = 'yes'\n", 'roamd.toml:6: discovery.mdns: "yes" is neither true nor false'),
        ('[backend]\nurl = "ftp://x"\n', 'roamd.toml:6: backend.url: "ftp://x" is no plain web address'),
        ('[backend]\nurl = "http://[x"\n', "roamd.toml:6: backend.url:"),
        ('[backend]\nurl = "http://u:p@h/"\n', "roamd.toml:6: backend.url:"),
        ('[backend]\nkey = "k"\n', "roamd.toml:6: backend.key: there is no backend.url"),
        ('[pairing]\nlisten = "h:63119"\n', "roamd.toml:6: pairing.listen: links use this port"),
        ('[api]\nlisten = "unix:"\n', "roamd.toml:6: api.listen: a socket needs a path"),
        ('[api]\nkey_file = ""\n', "roamd.toml:6: api.key_file: it is empty"),
        ('[api]\nhosts = ["a", "a"]\n', "roamd.toml:6: api.hosts: it names something twice"),
        ('[api]\nhosts = "a"\n', 'roamd.toml:6: api.hosts: "a" is not a list'),
        ("log = 1\n", "roamd.toml:5: endpoint.log: there is no such key"),
        ("[webhooks]\nurl = 'x'\n", "roamd.toml:5: webhooks: it is not a list of tables; write [[webhooks]]"),
        ("[[webhooks]]\nurl = 'http://h'\n", "roamd.toml:5: webhooks.secret: it is missing"),
        (
            "[[webhooks]]\nurl='http://h'\nsecret='s'\nsecert='s'\n",
            "roamd.toml:8: webhooks.secert: there is no such key",
        ),
        (
            "[[candidates]]\naddress='h:1'\nendpoint_id='X'\n",
            "roamd.toml:7: candidates.endpoint_id: it is no endpoint id",
        ),
        ('[log]\nlevel = "de\\u001bbug"\n', 'roamd.toml:6: log.level: "de\\u001bbug" is not known'),
    ],
)
def test_a_wrong_value_names_file_line_key_and_remedy(write: Write, text: str, expected: str) -> None:
    (found,) = faults(write(MINIMAL + text))
    assert found.startswith(expected)
    assert found.isprintable()


def test_a_section_that_is_a_value_is_told(write: Write) -> None:
    assert faults(write("log = 1\n" + MINIMAL)) == ["roamd.toml:1: log: 1 is not a section; write [log] and keys below"]


def test_two_webhooks_need_two_names(write: Write) -> None:
    (found,) = faults(write(MINIMAL + "[[webhooks]]\nurl='http://h'\nsecret='s'\n" * 2))
    assert found.startswith("roamd.toml:8: webhooks.name: two webhooks")


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    assert (
        faults(tmp_path / "roamd.toml")[0] == "roamd.toml: there is no such file; `roamd init DIRECTORY ...` makes one"
    )


def test_a_file_that_is_not_text_is_one_fault(tmp_path: Path) -> None:
    (tmp_path / "roamd.toml").write_bytes(b"a = 1\nb = '\xff'\n")
    assert faults(tmp_path / "roamd.toml")[0] == "roamd.toml:2: it is not UTF-8; save it as UTF-8"


def test_a_directory_in_its_place_is_a_fault_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "roamd.toml").mkdir()
    assert faults(tmp_path / "roamd.toml")[0].startswith("roamd.toml: it cannot be read")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "roamd.toml").write_text("#" * (1 << 21))
    assert faults(tmp_path / "roamd.toml")[0].startswith("roamd.toml: it is larger than 64 KiB")


# --- the table itself -------------------------------------------------------------------------------------------


def test_every_default_is_one_that_its_own_check_takes() -> None:
    for section, kind in SECTIONS.items():
        for key in keys_of(kind).values():
            if isinstance(key.default, str | int | float | list):
                key.kind.take(key.default)
            if key.example is not None and section != "webhooks":
                key.kind.take(key.example)


def test_every_reason_is_a_sentence() -> None:
    reasons = [key.reason for kind in SECTIONS.values() for key in keys_of(kind).values()]
    assert all(reason[0] == '"' or reason[0].isupper() for reason in reasons)
    assert all(reason.endswith(".") for reason in reasons)


def test_a_reload_tells_which_keys_must_wait_for_a_restart(write: Write) -> None:
    old = minimal(write)
    new = minimal(write, '[link]\nlisten = "127.0.0.1:1"\nheartbeat_s = 5\n[log]\nlevel = "debug"\n')
    assert restart_needed(old, new) == ("link.listen", "pairing.listen")
    assert restart_needed(old, old) == ()


def test_the_tables_of_lists_stand_among_the_sections() -> None:
    assert set(TABLES) < set(SECTIONS)


def test_a_file_full_of_faults_is_told_in_a_hundred_lines(tmp_path: Path) -> None:
    (tmp_path / "roamd.toml").write_text("[[candidates]]\n" * 4000)
    assert len(faults(tmp_path / "roamd.toml")) == 100


def test_a_number_of_thousands_of_digits_is_a_fault_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "roamd.toml").write_text("[link]\nheartbeat_s = " + "9" * 5000)
    assert faults(tmp_path / "roamd.toml") == ["roamd.toml:1: it has a number of far too many digits; no key takes one"]


def test_a_key_of_thousands_of_parts_is_refused_before_the_parser_sees_it(tmp_path: Path) -> None:
    (tmp_path / "roamd.toml").write_text("a." * 20_000 + "a = 1")
    assert "more than 64 dots" in faults(tmp_path / "roamd.toml")[0]
