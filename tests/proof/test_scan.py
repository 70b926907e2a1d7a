"""What the scan forgives: only what a reason is written for, and nothing that merely looks like it."""

import pytest

from tests.proof.scan import HARMLESS, is_harmless


@pytest.mark.parametrize(
    "finding",
    ["SSLv3", "TLS1", "TLS1_2", "heartbleed", "cert_signatureAlgorithm", "cert_keySize", "secure_renego", "LUCKY13",
     "supportedciphers_x", "my_session", "not_HTTP"],
)  # fmt: skip
def test_a_finding_about_the_protocol_or_the_keys_is_never_forgiven(finding: str) -> None:
    assert not is_harmless(finding)


def test_every_forgiven_finding_has_its_reason() -> None:
    assert all(len(reason) > 20 for reason in HARMLESS.values())
    assert is_harmless("cert_chain_of_trust")
    assert is_harmless("cert_expirationStatus")
