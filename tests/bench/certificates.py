"""Certificates for the yardsticks: P-256 like roamd's, checked on both sides like roamd's."""

import ssl
from pathlib import Path

from roamd.clock import SystemClock
from roamd.trust.identity import Identity
from roamd.trust.leaf import issue_leaf


def make(folder: Path) -> None:
    """Identities for both ends of a link of roamd; for the yardsticks a leaf of one of them that both ends show."""
    now_ms = SystemClock().now_ms()
    for name in ("listener", "dialler"):
        identity = Identity.create(now_ms)
        identity.save(folder / f"{name}.key", folder / f"{name}.crt")
    leaf = issue_leaf(identity, now_ms)
    (folder / "ca.der").write_bytes(identity.certificate_der)
    (folder / "leaf.pem").write_bytes(leaf.cert_pem + leaf.key_pem)


def context(folder: Path, *, server: bool) -> ssl.SSLContext:
    """TLS 1.3, both sides with a certificate, no tickets: what a link of roamd uses."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(folder / "leaf.pem")
    made.load_verify_locations(cadata=(folder / "ca.der").read_bytes())
    if server:
        made.num_tickets = 0
    return made
