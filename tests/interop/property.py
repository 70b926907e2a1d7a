"""schemathesis, which nobody here wrote, against the OCPI face of a real daemon, by the face's own OpenAPI document.

python -m tests.interop.property PATH/TO/schemathesis
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.daemons import Fleet

TOKEN = "the-token-of-a-backend-that-does-not-register"
SETTINGS = f"""
[discovery]
mdns = false

[[ocpi]]
name = "csms"
token = "{TOKEN}"
handshake = false
"""
CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance"
EXAMPLES = "10"


def main() -> int:
    """Its exit code: 0 when nothing was found."""
    with tempfile.TemporaryDirectory() as room, Fleet(Path(room)) as fleet:
        company = fleet.company("csp", "FR*RMD", backend=False, settings=SETTINGS)
        fleet.start(company)
        face = f"http://{company.api.address}/ocpi"
        words = ["run", f"{face}/openapi.json", "-u", face, "-H", f"Authorization: Token {TOKEN}", "-c", CHECKS]
        words += ["--max-examples", EXAMPLES, "--phases", "coverage,fuzzing"]
        return subprocess.run([sys.argv[1], *words], cwd=room, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
