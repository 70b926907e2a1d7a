"""The demo as a process, for what has to do with signals, and for trying the lines that `--keep` prints."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from roamd.demo.processes import child_environment

NO_CURL = shutil.which("curl") is None

LAST_LINE = "Ctrl-C ends them"


class DemoProcess:
    """Runs `command` with its temporary directory in `room`; ended when the block is left."""

    process: "subprocess.Popen[str]"

    def __init__(self, command: Sequence[str], room: Path) -> None:
        self.command = command
        self.room = room

    def start(self, *options: str, fault: str = "") -> None:
        self.process = subprocess.Popen(
            [*self.command, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=child_environment() | {"TMPDIR": str(self.room), "FAKE_FAULT": fault},
        )

    def read_to(self, wanted: str) -> list[str]:
        """The lines up to the one with `wanted`; fails when the demo ends before."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line.rstrip("\n"))
            if wanted in line:
                return lines
        raise AssertionError(f"{wanted!r} was never said:\n" + "\n".join(lines))

    def run_printed_curl_lines(self) -> int:
        """Read to the end of what `--keep` prints and run its curl lines; how many there were."""
        return self.run_curl_lines(self.read_to(LAST_LINE))

    def run_curl_lines(self, lines: Sequence[str]) -> int:
        """Run every curl line, as a reader would paste it; fails unless each gets a 2xx."""
        curls = [line for line in lines if line.startswith("curl ")]
        for line in curls:
            pasted = ["sh", "-c", line.replace("curl ", "curl --fail-with-body ", 1)]
            ended = subprocess.run(pasted, capture_output=True, text=True, timeout=20, check=False)
            assert ended.returncode == 0, f"{line}\n{ended.stdout}{ended.stderr}"
        return len(curls)

    def __enter__(self) -> "DemoProcess":
        return self

    def __exit__(self, *_exc: object) -> None:
        """Ctrl-C first: it is the demo that ends its children."""
        if hasattr(self, "process") and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()
