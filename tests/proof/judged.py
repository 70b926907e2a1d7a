"""What the scanners' words amount to: from what one of them said of a port to the list of what is wrong there.

A list is empty only if the scanner has looked at all that it is run for, for one that saw nothing objects to nothing.
Whatever is forgiven is forgiven by its name and its words, each for a reason.
"""

import re
from collections.abc import Mapping, Sequence

SSLYZE_FORGIVEN = {
    "certificate_path_validation": "partners pin each other's identities; no authority of the Web takes part",
}

NMAP_SCRIPTS = ("ssl-enum-ciphers", "ssl-cert", "ssl-heartbleed", "ssl-poodle", "ssl-ccs-injection")
"""Not `tls-ticketbleed`, which fails at what speaks TLS 1.3 alone; that there are no tickets testssl looks after."""

TESTSSL_NEEDED = {
    "SSLv2": "not offered",
    "SSLv3": "not offered",
    "TLS1": "not offered",
    "TLS1_1": "not offered",
    "TLS1_2": "not offered",
    "TLS1_3": "offered",
    "cipherlist_NULL": "not offered",
    "cipherlist_aNULL": "not offered",
    "cipherlist_EXPORT": "not offered",
    "cipherlist_LOW": "not offered",
    "cipherlist_STRONG": "offered",
    "cert_signatureAlgorithm": "ECDSA with SHA256",
    "cert_keySize": "EC 256 bits",
    "TLS_session_ticket": "no",
    "sessionresumption_ticket": "not supported",
    "sessionresumption_ID": "No Session ID",
    "heartbleed": "not vulnerable",
    "CCS": "not vulnerable",
    "ROBOT": "not vulnerable",
    "secure_renego": "TLS 1.3 only",
}
"""What it must have looked at, and how its finding has to begin. It finds no fault with TLS 1.2; we do."""

TESTSSL_FORGIVEN = {
    "engine_problem": (r"No engine or GOST", "about the OpenSSL beside the scanner, not about the port"),
    "cert_trust": (r"certificate does not match supplied URI$", "a leaf names an endpoint by URI, not a host"),
    "cert_chain_of_trust": (r"failed \(chain incomplete\)", "a partner pins the identity that issued the leaf"),
    "cert_expirationStatus": (r"expires < \d+ days \([3-7]\)", "a leaf lives 7 days, and is renewed at half of them"),
    "cert_notAfter": (r"\d{4}-\d\d-\d\d", "the same; that it is not over is the finding above"),
    "cert_revocation": (r"Neither CRL nor OCSP", "a leaf lives 7 days; revoking is `roamd peers suspend`"),
    "DNS_CAArecord": (r"--", "says which public authority may issue for a host; there is none here"),
}  # fmt: skip
"""What testssl reports because roamd is not a web server: in which words, and why it harms nobody."""

_BAD = ("WARN", "LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL")


def objections_of_sslyze(said: str) -> list[str]:
    """Of its whole output."""
    verdict = said.partition("COMPLIANCE AGAINST")[2]
    if not re.search(r": (OK|FAILED) - ", verdict):
        return ["came to no verdict"]
    found = re.findall(r"^\s+\* (\w+): (.*)$", verdict, re.MULTILINE)
    seen = "TLS 1.3 Cipher Suites:" in said and "The server accepted" in said
    return [f"{what}: {why}" for what, why in found if what not in SSLYZE_FORGIVEN] + (
        [] if seen else ["saw no cipher"]
    )


def objections_of_nmap(said: str, port: int) -> list[str]:
    """Of what it prints for one port with `NMAP_SCRIPTS`."""
    wanted = {
        f"{port}/tcp open": "does not find it open",
        "TLSv1.3:": "saw no TLS 1.3",
        "Public Key bits": "saw no key",
    }
    unseen = [words for text, words in wanted.items() if text not in said]
    bad = re.findall(r"VULNERABLE|SSLv[23]|TLSv1\.[012]|weak|broken|least strength: [B-F]|ERROR: .*", said)
    return sorted(set(bad)) + unseen


def objections_of_testssl(findings: Sequence[Mapping[str, str]]) -> list[str]:
    """Of its findings for one port."""
    by_id = {one["id"]: one["finding"] for one in findings}
    unseen = [f"{id_} was not looked at" for id_ in TESTSSL_NEEDED if id_ not in by_id]
    wrong = {id_ for id_, begins in TESTSSL_NEEDED.items() if not by_id.get(id_, begins).strip().startswith(begins)}
    wrong |= {one["id"] for one in findings if one["severity"] in _BAD and not is_forgiven(one["id"], one["finding"])}
    return [f"{id_}: {by_id[id_].strip()}" for id_ in sorted(wrong)] + unseen


def is_forgiven(id_: str, finding: str) -> bool:
    """Whether a finding of testssl is one of `TESTSSL_FORGIVEN`, in those words."""
    words, _reason = TESTSSL_FORGIVEN.get(id_, (r"$^", ""))
    return re.match(words, finding.strip()) is not None
