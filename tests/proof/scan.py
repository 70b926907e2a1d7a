"""Scanners: what do other people's tools say of the ports, and of the unit?

Each part has an environment of its own and is skipped, with the reason, where that is not to be had:

    exposure   systemd-analyze security, on the unit's file
    sslyze     in a virtual environment of its own, against Mozilla's modern profile, at the link and the pairing port
    nmap       and
    testssl    in a Debian made by debootstrap in a directory, at the same ports
    unit       the same Debian booted under its own systemd by systemd-nspawn, with roamd put in by scripts/install:
               READY, a frozen process killed by the watchdog, the verdict of a reload, the key as a credential

One finding is expected and no fault: that the certificate leads to no authority of the Web. Partners pin each other's
identities and ask no authority; who it is has its own tests.

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

from tests.proof.report import Report, Say, finish, parser
from tests.support.daemons import Fleet
from tests.support.progress import say

CHECKOUT = Path(__file__).parents[2]
SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,nmap,testssl.sh,openssl,iproute2,passwd"
EXPOSURE_LIMIT = 1.2
MINUTES = 60

EXPECTED = ("certificate_path_validation",)
"""What sslyze may object to: see above."""

HARMLESS = {
    r"cert_(trust|chain|caIssuers)": "a partner pins the identity that issues the leaf; no public authority takes part",
    r"OCSP|cert_(crl|ocsp|revocation|mustStaple)|CRL": "a leaf lives 7 days; revoking is `roamd peers suspend`",
    r"cert_(commonName|subjectAltName|hostname)": "a leaf names an endpoint by URI, not a host",
    r"cert_(notAfter|validityPeriod|expiration)": "the daemon renews its leaf at half of its 7 days",
    r"DNS_|certificate_transparency": "rules for public authorities, of which there are none here",
    r"HTTP|HSTS|BREACH|security_headers": "no HTTP is spoken on these ports",
    r"overall_grade|grade_|final_score": "a sum that counts the findings above",
    r"scanTime": "how long the scanner took",
    r"fallback_SCSV": "there is only TLS 1.3: nothing to fall back to",
    r"NPN|ALPN|optimal_proto": "the scanner offers the Web's protocols, which are not roamd's",
    r"clientAuth": "that a certificate is asked for is the point",
    r"session(resumption|_ticket|_id)": "no tickets and no resumption, so that every link is judged anew",
}
"""What testssl reports because roamd is not a web server: how an id begins, and why it harms nobody."""

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


def is_harmless(finding: str) -> bool:
    """Whether a finding of testssl, by its id, is one of `HARMLESS`."""
    return any(re.match(begins, finding, re.IGNORECASE) for begins in HARMLESS)


class Scan:
    """All parts; `room` is where their environments are made."""

    def __init__(self, room: Path, tell: Say) -> None:
        self.room, self.tell, self.report = room, tell, Report()
        self.ports: dict[str, int] = {}

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
            for name in wanted:
                self.tell(f"{name} ...")
                try:
                    self.parts()[name]()
                except SkippedError as reason:
                    self.report.skipped[name] = str(reason)
        return self.report

    def _open_ports(self, fleet: Fleet) -> None:
        """A daemon with an open invitation, so that both ports are."""
        company = fleet.company("cso", "BE*RMC", backend=False)
        fleet.start(company)
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
        for name, port in self.ports.items():
            done = run([str(program), "--mozilla_config", "modern", f"127.0.0.1:{port}"], within_s=180)
            self._judge_sslyze(name, done.stdout)

    def _make_sslyze(self, program: Path) -> None:
        made = run([sys.executable, "-m", "venv", str(program.parents[1])], within_s=120)
        if made.returncode:
            raise SkippedError(f"no virtual environment: {made.stderr.strip()[-200:]}")
        pip = [str(program.with_name("pip")), "install", "--quiet", "--disable-pip-version-check", "sslyze"]
        if run(pip, within_s=300).returncode:
            raise SkippedError("sslyze cannot be installed from the package index")

    def _judge_sslyze(self, name: str, said: str) -> None:
        verdict = said.partition("COMPLIANCE AGAINST")[2]
        self.report.must(verdict, f"sslyze came to no verdict on the {name} port")
        objections = re.findall(r"^\s+\* (\w+): (.*)$", verdict, re.MULTILINE)
        real = [f"{what}: {why}" for what, why in objections if what not in EXPECTED]
        self.report.must(not real, f"sslyze on the {name} port: {real}")
        self.report.figures[f"sslyze, modern, {name} port"] = real or "compliant"

    def nmap(self) -> None:
        for name, port in self.ports.items():
            scripts = "ssl-enum-ciphers,ssl-cert,ssl-heartbleed,ssl-poodle,ssl-ccs-injection,tls-ticketbleed"
            said = self._in_box("nmap", "-Pn", "-sT", "-p", str(port), "--script", scripts, "127.0.0.1").stdout
            self.report.must(f"{port}/tcp open" in said, f"nmap does not find the {name} port open")
            bad = re.findall(r"VULNERABLE|SSLv[23]|TLSv1\.[012]|weak|broken", said)
            self.report.must(not bad, f"nmap on the {name} port: {sorted(set(bad))}")
            self.report.figures[f"nmap, {name} port"] = bad or "clean"

    def testssl(self) -> None:
        for name, port in self.ports.items():
            out = self._box() / f"testssl-{name}.json"
            out.unlink(missing_ok=True)
            self._in_box(
                "testssl", "--quiet", "--warnings", "batch", "--color", "0", "--jsonfile", f"/{out.name}",
                "--openssl", "/usr/bin/openssl", f"127.0.0.1:{port}",
            )  # fmt: skip
            if not out.exists():
                raise SkippedError("testssl wrote no findings")
            findings = json.loads(out.read_text())
            bad = [
                f"{one['id']}: {one['finding']}"
                for one in findings
                if one["severity"] in ("LOW", "MEDIUM", "HIGH", "CRITICAL") and not is_harmless(one["id"])
            ]
            self.report.must(len(findings) > 10, f"testssl saw hardly anything of the {name} port: {len(findings)}")
            self.report.must(not bad, f"testssl on the {name} port: {bad}")
            self.report.figures[f"testssl, {name} port"] = f"{len(findings)} findings, {len(bad)} bad"

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
        tracked = run(["git", "ls-files", "-z", "roamd", "scripts", "systemd", "config"], within_s=60, cwd=CHECKOUT)
        for name in (*tracked.stdout.strip("\0").split("\0"), *_TOP):
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
