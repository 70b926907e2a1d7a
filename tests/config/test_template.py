"""The file that `roamd init` writes: it loads, it shows every key, and its comments tell the truth."""

import re
from pathlib import Path

from roamd.config import load
from roamd.config.schema import SECTIONS, keys_of
from roamd.config.template import EXAMPLE, render

CHECKOUT = Path(__file__).parents[2]


def test_the_example_in_the_repository_is_up_to_date() -> None:
    """Renew it with: .venv/bin/python -m roamd.config.template > config/roamd.toml"""
    assert (CHECKOUT / "config" / "roamd.toml").read_text() == render(EXAMPLE)


def test_every_key_is_shown() -> None:
    text = render({})
    for section, kind in SECTIONS.items():
        assert f"[{section}]" in text
        for name in keys_of(kind):
            assert re.search(rf"^# {name} = ", text, re.MULTILINE), f"{section}.{name}"


def test_what_it_renders_loads(tmp_path: Path) -> None:
    path = tmp_path / "roamd.toml"
    path.write_text(render(EXAMPLE))
    config = load(path, {})
    assert str(config.link.advertise) == "roamd.abc.example:63119"


def test_taking_every_hash_away_changes_nothing(tmp_path: Path) -> None:
    """So each comment shows the true default, in a form that can be used."""
    path = tmp_path / "roamd.toml"
    path.write_text(render(EXAMPLE))
    before = load(path, {})
    assignments = "|".join(name for kind in SECTIONS.values() for name in keys_of(kind))
    path.write_text(
        re.sub(rf"^# ((?:{assignments}) = .*)$", r"\1", _without_tables(render(EXAMPLE)), flags=re.MULTILINE)
    )
    assert load(path, {}) == before


def _without_tables(text: str) -> str:
    return "".join(part for part in re.split(r"(?=^# --- )", text, flags=re.MULTILINE) if "# [[" not in part)


def test_a_value_that_needs_escapes_survives(tmp_path: Path) -> None:
    name = 'Ä "quoted" \\ back 🚗'
    path = tmp_path / "roamd.toml"
    path.write_text(render({**EXAMPLE, "endpoint.name": name}))
    assert load(path, {}).endpoint.name == name
