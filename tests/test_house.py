"""The house's outer walls: what is shipped, what is locked, how the scripts behave, and that rooms keep their order."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
LOCKS = ["requirements.lock", "requirements-dev.lock"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~;\[ ]", name)[0]).lower()


def locked(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^ ;\\]+)", (CHECKOUT / lock).read_text(), re.MULTILINE))


# --- what is locked and shipped ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_library_has_hashes_and_no_registry_is_named(lock: str) -> None:
    text = (CHECKOUT / lock).read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=\w)", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    assert all("--hash=sha256:" in entry for entry in entries)


def test_everything_declared_is_locked() -> None:
    runtime = {canonical(one) for one in PROJECT["project"]["dependencies"]}
    extras = PROJECT["project"]["optional-dependencies"]
    assert runtime | {"uvloop", "hatchling"} <= set(locked("requirements.lock"))
    assert {canonical(one) for one in extras["dev"]} <= set(locked("requirements-dev.lock"))


def test_both_locks_agree() -> None:
    development = locked("requirements-dev.lock")
    assert {name: development.get(name) for name in locked("requirements.lock")} == locked("requirements.lock")


def test_what_runs_here_is_what_is_locked() -> None:
    from importlib.metadata import version

    for name in ("trio", "aiohttp", "apsw", "msgspec", "cryptography"):
        assert version(name) == locked("requirements.lock")[name], f"{name}: run scripts/setup"


def test_every_library_that_the_code_imports_is_declared() -> None:
    declared = {canonical(one).replace("-", "_") for one in PROJECT["project"]["dependencies"]} | {"uvloop"}
    names = {"dnspython": "dns"}
    known = {names.get(name, name) for name in declared} | set(sys.stdlib_module_names) | {"roamd"}
    assert {name for path in (CHECKOUT / "roamd").rglob("*.py") for name in imported(path)} <= known


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_the_changelog_knows_this_version() -> None:
    from roamd import __version__

    assert f"## [{__version__}]" in (CHECKOUT / "CHANGELOG.md").read_text()


def test_the_licence_is_the_one_declared() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (CHECKOUT / "LICENSE").read_text()


def test_the_command_is_declared_and_there() -> None:
    import roamd.cli

    assert PROJECT["project"]["scripts"] == {"roamd": "roamd.cli:main"}
    assert callable(roamd.cli.main)


# --- the rooms' order -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contract", PROJECT["tool"]["importlinter"]["contracts"], ids=lambda one: one["name"])
def test_every_room_of_the_house_stands_in_the_contracts(contract: dict[str, object]) -> None:
    """A contract that names a room which is gone would hold for nothing."""
    layers = contract.get("layers", contract.get("source_modules"))
    assert isinstance(layers, list)
    names = {name.strip(" ()") for layer in layers for name in layer.removeprefix("roamd.").split("|")}
    rooms = {path.stem for path in (CHECKOUT / "roamd").iterdir() if not path.name.startswith("__")}
    if contract["type"] == "layers":
        assert rooms <= names
    assert names - rooms == set()


# --- the scripts ------------------------------------------------------------------------------------------------


def scripts() -> list[Path]:
    return sorted(path for path in [*(CHECKOUT / "scripts").iterdir(), CHECKOUT / ".ci" / "run"] if path.is_file())


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_a_script_can_be_run_and_says_what_it_is_for(script: Path) -> None:
    first, second, *_ = script.read_text().splitlines()
    assert os.access(script, os.X_OK)
    assert re.fullmatch(r"#!/usr/bin/env (bash|python3)", first)
    assert second.startswith(("# ", '"""'))
    if first.endswith("bash"):
        subprocess.run(["bash", "-n", script], check=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with only what setup reads, and an environment that claims to be installed."""
    for name in ("pyproject.toml", *LOCKS):
        shutil.copy(CHECKOUT / name, tmp_path)
    (tmp_path / "scripts").mkdir()
    shutil.copy(CHECKOUT / "scripts" / "setup", tmp_path / "scripts")
    return tmp_path


def setup(
    checkout: Path, *arguments: str, path: str = "/usr/bin:/bin", **more: str
) -> "subprocess.CompletedProcess[str]":
    environ = {"PATH": path, "HOME": str(checkout / "nohome"), **more}
    command = [checkout / "scripts" / "setup", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_setup_says_which_python_it_needs(checkout: Path) -> None:
    old = checkout / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = setup(checkout, ROAMD_PYTHON=str(old))
    assert done.returncode == 1
    assert "not Python 3.11, 3.12 or 3.13" in done.stderr


def test_setup_names_the_package_that_debian_leaves_out(checkout: Path) -> None:
    """A Python without ensurepip, as Debian ships it."""
    bare = checkout / "bare-python"
    bare.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    bare.chmod(0o755)
    done = setup(checkout, ROAMD_PYTHON=str(bare))
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert done.returncode == 1
    assert f"apt install python{version}-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_setup_refuses_words_that_it_does_not_know(checkout: Path) -> None:
    assert setup(checkout, "--everything").returncode == 1


def test_setup_does_nothing_when_nothing_has_changed(checkout: Path) -> None:
    fake_installation(checkout, "requirements-dev.lock")
    assert setup(checkout, ROAMD_PYTHON="/nonexistent").returncode == 0
    assert setup(checkout, "--runtime", ROAMD_PYTHON="/nonexistent").returncode == 0


@pytest.mark.parametrize("changed", ["pyproject.toml", "requirements-dev.lock"])
def test_setup_notices_what_has_changed(checkout: Path, changed: str) -> None:
    fake_installation(checkout, "requirements-dev.lock")
    (checkout / changed).write_text((checkout / changed).read_text() + "# changed\n")
    assert "ROAMD_PYTHON=/nonexistent" in setup(checkout, ROAMD_PYTHON="/nonexistent").stderr


def test_the_part_that_runs_is_not_enough_for_the_tests(checkout: Path) -> None:
    fake_installation(checkout, "requirements.lock")
    assert setup(checkout, "--runtime", ROAMD_PYTHON="/nonexistent").returncode == 0
    assert setup(checkout, ROAMD_PYTHON="/nonexistent").returncode == 1


def fake_installation(checkout: Path, lock: str) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    stamp = f"{{ printf '%s\\n' \"$PWD\" {lock}; cat pyproject.toml {lock}; }} | cksum > .venv/installed"
    subprocess.run(["bash", "-c", stamp], cwd=checkout, check=True)


# --- the unit ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_the_unit_is_as_closed_as_promised() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", CHECKOUT / "systemd" / "roamd.service"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exposure = re.search(r"Overall exposure level for roamd.service: ([\d.]+)", told)
    assert exposure is not None
    assert float(exposure[1]) <= 1.2


def test_the_unit_restarts_on_all_but_what_would_fail_again() -> None:
    unit = (CHECKOUT / "systemd" / "roamd.service").read_text()
    for line in (
        "Type=notify",
        "RestartPreventExitStatus=2 78",
        "StartLimitIntervalSec=0",
        "LimitNOFILE=65536",
        "ExecReload=/opt/roamd/current/bin/roamd reload",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    ):
        assert f"\n{line}\n" in unit


# --- the log ----------------------------------------------------------------------------------------------------


def test_every_log_event_keeps_the_rules() -> None:
    command = [sys.executable, CHECKOUT / "scripts" / "log-events", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_catalogue_lists_each_event_once_per_place() -> None:
    told = subprocess.run(
        [sys.executable, CHECKOUT / "scripts" / "log-events"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert told[0] == "| event | level | keys | where |"
    assert len(set(told)) == len(told)
