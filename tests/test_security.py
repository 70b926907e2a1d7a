"""SECURITY.md says which test shows what: each of them must exist, and each threat must have one."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
TEXT = (CHECKOUT / "SECURITY.md").read_text()
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
SCRIPT = re.compile(r"`(scripts/[\w-]+)`")


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((CHECKOUT / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def threats() -> list[list[str]]:
    """The rows of the table of threats."""
    section = TEXT.split("## What strangers and partners may try")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return rows[1:]


@pytest.mark.parametrize(("file", "name"), sorted(set(TEST.findall(TEXT))))
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert name in names_in(file)


@pytest.mark.parametrize("script", sorted(set(SCRIPT.findall(TEXT))))
def test_a_script_that_is_named_exists(script: str) -> None:
    assert (CHECKOUT / script).is_file()


def test_every_threat_has_something_that_stops_it_and_something_that_shows_it() -> None:
    assert len(threats()) > 20
    for threat, measure, shown in threats():
        assert threat
        assert measure
        assert TEST.search(shown) or SCRIPT.search(shown), threat


@pytest.mark.parametrize(
    "thing", ["identity.key", "api.key", "roamd.toml", "roamd.db", "backup", "invitation", "journal"]
)
def test_every_file_that_can_be_stolen_has_its_row(thing: str) -> None:
    section = TEXT.split("## What a thief of each file can do")[1].split("\n## ")[0]
    assert any(thing in line.split("|")[1] for line in section.splitlines() if line.startswith("| "))
