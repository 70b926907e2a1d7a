"""A script that is interrupted ends what it started, says how far it was, and exits as shells expect."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storm import worlds
from tests.support import operating, script

CHECKOUT = Path(__file__).parents[1]
PLAIN = """
    import subprocess, sys, tempfile, time
    from tests.support.progress import say

    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        with tempfile.TemporaryDirectory(dir=".") as room:
            say("1 of 9 rounds")
            print(sleeper.pid, flush=True)
            time.sleep(60)
    finally:
        sleeper.kill()
        sleeper.wait()
"""
IN_NURSERIES = """
    import tempfile, trio
    from tests.support.progress import keep

    async def main():
        with tempfile.TemporaryDirectory(dir="."):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                keep("1 of 9 rounds")
                print(0, flush=True)
                await trio.sleep_forever()

    trio.run(main)
"""


def started(room: Path, program: str) -> "subprocess.Popen[str]":
    """A script in whose place the program stands, in its own empty directory."""
    (room / "under_test.py").write_text(textwrap.dedent(program))
    (room / "work").mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.script", "flood", "under_test"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=room / "work",
        env=os.environ | {"PYTHONPATH": f"{CHECKOUT}:{room}"},
    )


def lives(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(("program", "progress"), [(PLAIN, "1 of 9 rounds\n"), (IN_NURSERIES, "")])
def test_an_interrupted_script_ends_all_that_it_started_and_says_so_in_one_line(
    how: signal.Signals, program: str, progress: str, tmp_path: Path
) -> None:
    with started(tmp_path, program) as running:
        assert running.stdout is not None
        child = int(running.stdout.readline())
        running.send_signal(how)
        _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert err == f"{progress}flood: interrupted; 1 of 9 rounds\n"
    assert list((tmp_path / "work").iterdir()) == []
    assert not child or not lives(child)


@pytest.mark.parametrize(
    ("program", "status"), [("pass", 0), ("import sys; sys.exit(1)", 1), ("raise ValueError('a fault')", 1)]
)
def test_a_script_that_ends_by_itself_ends_as_it_would_alone(program: str, status: int, tmp_path: Path) -> None:
    with started(tmp_path, program) as running:
        _, err = running.communicate(timeout=30)
    assert running.returncode == status
    assert "interrupted" not in err
    assert ("ValueError: a fault" in err) == ("ValueError" in program)


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (KeyboardInterrupt(), True),
        (BaseExceptionGroup("", [ValueError(), BaseExceptionGroup("", [KeyboardInterrupt()])]), True),
        (BaseExceptionGroup("", [GeneratorExit()]), False),
        (ExceptionGroup("", [ValueError()]), False),
    ],
)
def test_an_interrupt_is_found_in_the_groups_of_nurseries(error: BaseException, found: bool) -> None:
    assert script.is_interrupt(error) is found


def test_an_operators_command_that_is_interrupted_in_our_own_process_interrupts_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_work(*_: object, **__: object) -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    monkeypatch.setattr("roamd.cli._run", at_work)
    with pytest.raises(KeyboardInterrupt):
        operating.run_here("status", expect=())


STORM = """
import signal, sys
def over(*_):
    sys.stderr.write("3 kills")
    sys.exit(130)
signal.signal(signal.SIGTERM, over)
sys.stderr.write("begun\\n")
sys.stderr.flush()
signal.pause()
"""


@pytest.fixture
def storms(monkeypatch: pytest.MonkeyPatch) -> Iterator[list["subprocess.Popen[str]"]]:
    """Storms that only wait to be ended."""
    made: list[subprocess.Popen[str]] = []

    class Waiting(worlds._Storm):
        def __init__(self, _command: object, **how: object) -> None:
            super().__init__([sys.executable, "-c", STORM], **how)  # type: ignore[call-overload]
            made.append(self)

    monkeypatch.setattr(worlds, "_Storm", Waiting)
    yield made
    for storm in made:
        storm.kill()


def test_worlds_side_by_side_are_ended_with_the_storm_and_each_has_its_say(
    storms: list["subprocess.Popen[str]"],
) -> None:
    told: list[str] = []
    both = threading.Barrier(2)

    def say(line: str) -> None:
        told.append(line)
        if line.endswith("begun") and both.wait(30) == 0:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        worlds.side_by_side(worlds.Size(0, 2, 2, 0, 7), 2, say)
    assert [storm.returncode for storm in storms] == [130, 130]
    assert sorted(told) == ["[7] 3 kills", "[7] begun", "[8] 3 kills", "[8] begun"]


# --- sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "bitrot --flips 0",
        "canary --messages 0",
        "diskfull --rounds x",
        "oldbackup --messages 0",
        "powercut --images 0",
        "simulate --nodes 1",
        "simulate --seeds 5..1",
        "simulate --faults cut,nosuch",
        "soak --minutes nan",
        "storm --records 0",
        "syncerrors --runs -1",
    ],
)
def test_a_size_that_leaves_nothing_to_prove_is_refused_by_its_name(command: str) -> None:
    name, option, value = command.split()
    done = subprocess.run(
        [CHECKOUT / "scripts" / name, option, value], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: argument {option}: " in done.stderr
    assert value.removeprefix("cut,") in done.stderr.splitlines()[-1]
