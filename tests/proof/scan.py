"""Scanners: what do other people's tools say of the ports, and of the unit?

Each part has an environment of its own and is skipped, with the reason, where that is not to be had:

    exposure   systemd-analyze security, on the unit's file
    sslyze     in a virtual environment of its own, against Mozilla's modern profile, at the link and the pairing port
    nmap       and
    testssl    in a Debian made by debootstrap in a directory, at the same ports
    unit       the same Debian booted under its own systemd by systemd-nspawn, with roamd put in by scripts/install:
               READY, a frozen process killed by the watchdog, the verdict of a reload, the key as a credential

sslyze and testssl show the certificate of a partner that is paired, else the link port would hardly talk to them. Each
of the three is also let loose on a port that takes TLS 1.2, and must object. What is forgiven stands, with its reason,
in `judged.py`.

Usage: scripts/scan [--only exposure,sslyze,nmap,testssl,unit] [--keep DIRECTORY] [--seed 1] [--json]
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from roamd.clock import SystemClock
from roamd.trust.identity import Identity
from roamd.trust.leaf import issue_leaf
from tests.proof.judged import NMAP_SCRIPTS, objections_of_nmap, objections_of_sslyze, objections_of_testssl
from tests.proof.planted import PlantedPort
from tests.proof.report import Report, Say, finish, parser
from tests.support.daemons import Fleet
from tests.support.progress import say

CHECKOUT = Path(__file__).parents[2]
SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,nmap,testssl.sh,openssl,iproute2,passwd"
EXPOSURE_LIMIT = 1.2
MINUTES = 60

PLANTED = "planted TLS 1.2"
"""The name of a port that each scanner must object to, or what it says of ours is worth nothing."""

AS_PEER = """#!/bin/sh
[ "$1" = s_client ] && shift && set -- s_client -cert /peer.pem -key /peer.pem "$@"
exec /usr/bin/openssl "$@"
"""
"""OpenSSL as testssl calls it, with the certificate of a partner; its own `--mtls` came with version 3.2. Without one
the link port sends `certificate required` behind its handshake, and whether s_client has left by then is luck: a fifth
of its connections failed, and testssl gave up where two failed in turn."""

SERVICE = """[Unit]
After=basic.target

[Service]
Type=oneshot
TimeoutStartSec=600
ExecStart=/bin/sh /proof.sh
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=append:/proof.log
StandardError=append:/proof.log

[Install]
WantedBy=multi-user.target
"""


class SkippedError(Exception):
    """Why a part cannot be done here, in plain words."""


def run(command: Sequence[str], *, within_s: float, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run to the end; SkippedError where there is no such program or it does not end."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False, cwd=cwd)
    except FileNotFoundError as error:
        raise SkippedError(f"there is no {command[0]} here") from error
    except subprocess.TimeoutExpired as error:
        raise SkippedError(f"{command[0]} did not end within {within_s:g} s") from error


class Scan:
    """All parts; `room` is where their environments are made."""

    def __init__(self, room: Path, tell: Say) -> None:
        self.room, self.tell, self.report = room, tell, Report()
        self.ports: dict[str, int] = {}
        self.pem = room / "none"

    def parts(self) -> dict[str, Callable[[], None]]:
        return {
            "exposure": self.exposure,
            "sslyze": self.sslyze,
            "nmap": self.nmap,
            "testssl": self.testssl,
            "unit": self.unit,
        }

    def run(self, wanted: Sequence[str]) -> Report:
        with tempfile.TemporaryDirectory(prefix="roamd-scan-") as where, Fleet(Path(where)) as fleet:
            self._open_ports(fleet)
            with PlantedPort(self.pem) as planted:
                self.ports[PLANTED] = planted.port
                for name in wanted:
                    self._run(name)
        return self.report

    def _run(self, part: str) -> None:
        self.tell(f"{part} ...")
        try:
            self.parts()[part]()
        except SkippedError as reason:
            self.report.skipped[part] = str(reason)

    def _open_ports(self, fleet: Fleet) -> None:
        """A daemon with an open invitation, so that both ports are, and a leaf of its partner's."""
        company, partner = fleet.company("cso", "BE*RMC", backend=False), fleet.company("csp", "FR*RMD", backend=False)
        fleet.start(company, partner)
        fleet.pair(company, partner)
        theirs = partner.daemon.directory
        leaf = issue_leaf(Identity.load(theirs / "identity.key", theirs / "identity.crt"), SystemClock().now_ms())
        self.pem = fleet.room / "peer.pem"
        self.pem.write_bytes(leaf.cert_pem + leaf.key_pem)
        company.daemon.run("invite")
        settings = tomllib.loads(company.daemon.config.read_text())
        for name in ("link", "pairing"):
            self.ports[name] = int(settings[name]["listen"].rpartition(":")[2])

    # --- the unit's file ----------------------------------------------------------------------------------------

    def exposure(self) -> None:
        unit = CHECKOUT / "systemd" / "roamd.service"
        done = run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)], within_s=60)
        found = re.search(r"Overall exposure level[^:]*: ([0-9.]+)", done.stdout)
        if found is None:
            raise SkippedError(f"systemd-analyze cannot judge a unit offline: {done.stderr.strip()[:200]}")
        level = float(found.group(1))
        self.report.figures["exposure of the unit"] = level
        self.report.must(level <= EXPOSURE_LIMIT, f"the unit's exposure is {level}")

    # --- the ports ----------------------------------------------------------------------------------------------

    def sslyze(self) -> None:
        program = self.room / "sslyze" / "bin" / "sslyze"
        if not program.exists():
            self._make_sslyze(program)
        as_peer = ["--cert", str(self.pem), "--key", str(self.pem)]
        for name, port in self.ports.items():
            command = [str(program), "--mozilla_config", "modern", *as_peer, f"127.0.0.1:{port}"]
            self._judge("sslyze, modern", name, objections_of_sslyze(run(command, within_s=180).stdout), "compliant")

    def _make_sslyze(self, program: Path) -> None:
        scratch = self.room / "tmp"  # whoever is interrupted leaves what it unpacked, here where we remove it
        scratch.mkdir(exist_ok=True)
        inside = ["env", f"TMPDIR={scratch}"]
        made = run([*inside, sys.executable, "-m", "venv", str(program.parents[1])], within_s=120)
        if made.returncode:
            raise SkippedError(f"no virtual environment: {made.stderr.strip()[-200:]}")
        pip = [*inside, str(program.with_name("pip")), "install", "--quiet", "--disable-pip-version-check", "sslyze"]
        if run(pip, within_s=300).returncode:
            raise SkippedError("sslyze cannot be installed from the package index")

    def nmap(self) -> None:
        for name, port in self.ports.items():
            scripts = ",".join(NMAP_SCRIPTS)
            said = self._in_box("nmap", "-Pn", "-sT", "-p", str(port), "--script", scripts, "127.0.0.1").stdout
            self._judge("nmap", name, objections_of_nmap(said, port), "clean")

    def testssl(self) -> None:
        box = self._box()
        shutil.copyfile(self.pem, box / "peer.pem")
        (box / "openssl-as-peer").write_text(AS_PEER)
        (box / "openssl-as-peer").chmod(0o755)
        for name, port in self.ports.items():
            findings = self._testssl_findings(port, ["--protocols"] if name == PLANTED else [])
            self._judge("testssl", name, objections_of_testssl(findings), f"{len(findings)} findings, none bad")

    def _testssl_findings(self, port: int, checks: Sequence[str]) -> list[dict[str, str]]:
        out = self._box() / "testssl.json"
        out.unlink(missing_ok=True)
        said = self._in_box(
            "testssl", "--quiet", "--warnings", "batch", "--color", "0", "--jsonfile", f"/{out.name}",
            "--openssl", "/openssl-as-peer", *checks, f"127.0.0.1:{port}",
        )  # fmt: skip
        if not out.exists():
            raise SkippedError(f"testssl wrote no findings: {said.stdout.strip()[-200:]}")
        findings: list[dict[str, str]] = json.loads(out.read_text())
        return findings

    def _judge(self, scanner: str, port: str, objections: list[str], well: str) -> None:
        if port == PLANTED:
            found = [each for each in objections if re.search(r"TLSv?1[._]2", each)]
            self.report.must(found, f"{scanner} has nothing to say against a port that takes TLS 1.2: {objections}")
            self.report.figures[f"{scanner}, {port} port"] = f"found: {found[0][:80]}" if found else "not found"
        else:
            self.report.must(not objections, f"{scanner} on the {port} port: {objections}")
            self.report.figures[f"{scanner}, {port} port"] = objections or well

    # --- a Debian in a directory --------------------------------------------------------------------------------

    def _box(self) -> Path:
        box = self.room / "box"
        if (box / "etc" / "debian_version").exists():
            return box
        if os.geteuid() != 0:
            raise SkippedError("a Debian in a directory needs root")
        self.tell("  making a Debian (a few minutes) ...")
        made = run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(box)], within_s=900)
        if made.returncode:
            shutil.rmtree(box, ignore_errors=True)
            raise SkippedError(f"debootstrap did not do it: {made.stdout.strip()[-200:]}")
        return box

    def _in_box(self, *command: str) -> "subprocess.CompletedProcess[str]":
        box = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "-D", str(self._box())]
        done = run([*box, *command], within_s=600)
        if "Failed to" in done.stderr and not done.stdout:
            raise SkippedError(f"systemd-nspawn does not work here: {done.stderr.strip()[:200]}")
        return done

    def unit(self) -> None:
        box = self._box()
        self._fill(box)
        boot = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "-D", str(box)]
        began = time.monotonic()
        run(boot, within_s=900)
        seen = dict(line.split(" ", 1) for line in (box / "proof.log").read_text().splitlines() if " " in line)
        if "install" not in seen:
            raise SkippedError("systemd did not boot in the directory")
        self._judge_unit(seen, (box / "install.log").read_text())
        self.tell(f"  booted, tried and powered off in {time.monotonic() - began:.0f} s")

    def _fill(self, box: Path) -> None:
        """The checkout, the libraries as files, and what is to be done at boot."""
        for name in ("src", "wheels", "opt/roamd", "var/lib/roamd"):
            shutil.rmtree(box / name, ignore_errors=True)
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *_FOLDERS]
        names = run(listed, within_s=60, cwd=CHECKOUT).stdout.strip("\0").split("\0")
        for name in (*(name for name in names if (CHECKOUT / name).exists()), *_TOP):
            target = box / "src" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, target)
        self._fetch_libraries(box / "wheels")
        shutil.copy2(Path(__file__).with_name("booted.sh"), box / "proof.sh")
        (box / "proof.log").unlink(missing_ok=True)
        system = box / "etc" / "systemd" / "system"
        shutil.rmtree(system / "roamd.service.d", ignore_errors=True)
        (system / "proof.service").write_text(SERVICE)
        wants = system / "multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / "proof.service").unlink(missing_ok=True)
        (wants / "proof.service").symlink_to("../proof.service")

    def _fetch_libraries(self, wheels: Path) -> None:
        lock = str(CHECKOUT / "requirements.lock")
        versions = ["--python-version", "3.11", "--only-binary", ":all:"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "-r", lock]
        if run([*command, *versions, "--dest", str(wheels)], within_s=300).returncode:
            raise SkippedError("the libraries cannot be fetched from the package index")

    def _judge_unit(self, seen: dict[str, str], install_log: str) -> None:
        for step in ("install", "ready", "reload-good", "after-bad-reload", "watchdog", "credential-active"):
            self.report.must(
                seen.get(step) == "0", f"the booted unit: {step} gave {seen.get(step)}; {install_log[-300:]}"
            )
        self.report.must(seen.get("reload-bad", "0") != "0", "a bad configuration was reloaded without a word")
        level = float(seen.get("exposure") or 99)
        self.report.must(level <= EXPOSURE_LIMIT, f"the booted unit's exposure is {level}")
        self.report.figures["unit under systemd"] = {
            "READY": seen.get("ready") == "0",
            "bad reload refused, process untouched": seen.get("after-bad-reload") == "0",
            "frozen process replaced after s": seen.get("watchdog-after-s"),
            "key as credential": seen.get("credential-active") == "0",
            "exposure": level,
        }


_FOLDERS = ("roamd", "scripts", "systemd", "config")
_TOP = ("pyproject.toml", "README.md", "LICENSE", "requirements.lock")


def _wanted(options: argparse.Namespace, known: Sequence[str]) -> list[str]:
    wanted = [name for name in options.only.split(",") if name] or list(known)
    unknown = set(wanted) - set(known)
    if unknown:
        raise SystemExit(f"scan: no such part: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return wanted


def main(arguments: list[str]) -> int:
    """0 only if no scanner that ran objected; what was skipped is said."""
    options = parser("scan", "Let other people's scanners look at the ports and the unit.")
    options.add_argument("--only", default="", help="parts, with commas between")
    options.add_argument("--keep", type=Path, default=None, help="where the environments are made and kept")
    chosen = options.parse_args(arguments)
    room = chosen.keep or Path(tempfile.mkdtemp(prefix="roamd-scanners-"))
    room.mkdir(parents=True, exist_ok=True)
    scan = Scan(room, say)
    try:
        report = scan.run(_wanted(chosen, list(scan.parts())))
    finally:
        if chosen.keep is None:
            shutil.rmtree(room, ignore_errors=True)
    return finish("scan", chosen, report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
