"""A hundred power cuts a mode, on every run of the tests; `scripts/powercut` does a thousand."""

import json

import pytest

from tests.storage import powercut
from tests.support.crashfs import Delete, Disk, Sync, Truncate, Write


class Survives:
    """Every sector that was not synced survives, or none does."""

    def __init__(self, share: float) -> None:
        self._share = share

    def choice(self, _: object) -> float:
        return self._share

    def random(self) -> float:
        return 0.5


def test_full_loses_nothing_and_normal_does() -> None:
    quiet = lambda _: None  # noqa: E731
    full = powercut.measure("FULL", 100, 7, quiet)
    control = powercut.measure("NORMAL", 100, 7, quiet)
    assert (full.images, full.rows_lost, full.bad_images) == (100, 0, 0)
    assert control.images_with_loss > 0


def test_the_command_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert powercut.main(["--images", "40", "--seed", "3", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["FULL"]["images"] == report["NORMAL"]["images"] == 40


@pytest.mark.parametrize(("share", "content"), [(1.0, b"new!"), (0.0, b"old")])
def test_the_simulated_disk_keeps_what_was_synced_and_only_perhaps_the_rest(share: float, content: bytes) -> None:
    disk = Disk()
    for step in (Write("f", 0, b"old"), Sync("f"), Write("f", 0, b"new!")):
        disk.play(step)
    assert disk.image(Survives(share)) == {"f": content}  # type: ignore[arg-type]  # a Random that is not random


def test_the_simulated_disk_tears_a_write_between_sectors_only() -> None:
    class EverySecond(Survives):
        turn = 0

        def random(self) -> float:
            self.turn += 1
            return float(self.turn % 2)

    disk = Disk()
    disk.play(Write("f", 0, b"a" * 512 + b"b" * 512 + b"c" * 10))
    assert disk.image(EverySecond(0.5)) == {"f": bytes(512) + b"b" * 512}  # type: ignore[arg-type]  # as above


def test_the_simulated_disk_truncates_and_deletes() -> None:
    disk = Disk()
    for step in (Write("f", 0, b"12345"), Truncate("f", 2), Sync("f"), Write("g", 0, b"x"), Delete("g")):
        disk.play(step)
    assert disk.image(Survives(1.0)) == {"f": b"12"}  # type: ignore[arg-type]  # as above
