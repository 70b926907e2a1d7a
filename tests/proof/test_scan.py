"""What the scan forgives: only what a reason is written for, in those words. Who saw nothing has not found all well."""

import socket
import ssl
import time
from pathlib import Path

import pytest

from roamd.trust.leaf import issue_leaf
from tests.proof.judged import (
    SSLYZE_FORGIVEN,
    TESTSSL_FORGIVEN,
    TESTSSL_NEEDED,
    is_forgiven,
    objections_of_nmap,
    objections_of_sslyze,
    objections_of_testssl,
)
from tests.proof.planted import OLD_CIPHERS, PlantedPort
from tests.support.trust import identity

WELL = [{"id": id_, "severity": "OK", "finding": f"{begins} indeed"} for id_, begins in TESTSSL_NEEDED.items()]


def found(id_: str, severity: str, finding: str) -> list[dict[str, str]]:
    """All is well, but for one finding."""
    return [one for one in WELL if one["id"] != id_] + [{"id": id_, "severity": severity, "finding": finding}]


# --- testssl ----------------------------------------------------------------------------------------------------


def test_a_port_that_is_as_it_should_be_is_not_objected_to() -> None:
    assert objections_of_testssl(WELL) == []
    assert objections_of_testssl(found("cert_chain_of_trust", "CRITICAL", "failed (chain incomplete).")) == []


@pytest.mark.parametrize(("id_", "severity", "finding"), [
    ("TLS1_2", "OK", "offered"),
    ("TLS1", "LOW", "offered (deprecated)"),
    ("TLS1_3", "INFO", "not offered and downgraded"),
    ("sessionresumption_ticket", "INFO", "supported"),
    ("TLS_session_ticket", "INFO", "valid for 7200 seconds only"),
    ("heartbleed", "CRITICAL", "VULNERABLE"),
    ("LUCKY13", "LOW", "potentially vulnerable, uses TLS CBC ciphers"),
    ("cert_chain_of_trust", "CRITICAL", "failed (self signed)."),
    ("cert_expirationStatus", "CRITICAL", "expired"),
    ("cert_expirationStatus", "HIGH", "expires < 30 days (1)"),
    ("optimal_proto", "WARN", "Your OpenSSL cannot connect to 127.0.0.1:63119."),
    ("scanProblem", "FATAL", "Can't connect"),
])  # fmt: skip
def test_a_finding_about_the_protocol_or_the_keys_is_never_forgiven(id_: str, severity: str, finding: str) -> None:
    assert objections_of_testssl(found(id_, severity, finding)) == [f"{id_}: {finding}"]


def test_what_testssl_did_not_look_at_is_an_objection() -> None:
    assert len(objections_of_testssl([])) == len(TESTSSL_NEEDED)
    assert objections_of_testssl(WELL[1:]) == [f"{WELL[0]['id']} was not looked at"]


def test_every_forgiven_finding_has_its_words_and_its_reason() -> None:
    reasons = [*SSLYZE_FORGIVEN.values(), *(reason for _, reason in TESTSSL_FORGIVEN.values())]
    assert all(len(reason) > 20 for reason in reasons)
    assert not any(is_forgiven(id_, "anything else") for id_ in TESTSSL_FORGIVEN)


# --- sslyze and nmap --------------------------------------------------------------------------------------------

SSLYZE = """ * TLS 1.3 Cipher Suites:
     The server accepted the following 3 cipher suites:
 COMPLIANCE AGAINST TLS CONFIGURATION
    127.0.0.1:1: FAILED - Not compliant.
        * certificate_path_validation: Certificate path validation failed for CN=roamd leaf.
"""
NMAP = "1/tcp open unknown\n|   TLSv1.3: \n|_  least strength: A\n| Public Key bits: 256\n"


def test_sslyze_must_have_seen_ciphers_and_come_to_a_verdict() -> None:
    assert objections_of_sslyze(SSLYZE) == []
    assert objections_of_sslyze("") == ["came to no verdict"]
    assert objections_of_sslyze(SSLYZE.replace("The server accepted", "")) == ["saw no cipher"]
    worse = SSLYZE + "        * tls_versions: TLS versions {'TLSv1.2'} are supported, but should be rejected.\n"
    (objection,) = objections_of_sslyze(worse)
    assert objection.startswith("tls_versions: TLS versions {'TLSv1.2'}")


def test_nmap_must_have_seen_an_open_port_a_version_and_a_key() -> None:
    assert objections_of_nmap(NMAP, 1) == []
    assert len(objections_of_nmap("", 1)) == 3
    assert objections_of_nmap(NMAP + "|   TLSv1.2: \n| State: VULNERABLE\n", 1) == ["TLSv1.2", "VULNERABLE"]
    assert objections_of_nmap(NMAP.replace("strength: A", "strength: C"), 1) == ["least strength: C"]


# --- the planted port -------------------------------------------------------------------------------------------


def test_the_planted_port_takes_what_ours_refuses(tmp_path: Path) -> None:
    leaf = issue_leaf(identity(0), int(time.time() * 1000))
    (tmp_path / "pem").write_bytes(leaf.cert_pem + leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(OLD_CIPHERS)
    with PlantedPort(tmp_path / "pem") as planted:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", planted.port)) as bare, context.wrap_socket(bare) as tls:
                assert tls.version() == "TLSv1.2"
