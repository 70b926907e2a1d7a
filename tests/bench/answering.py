"""The daemon itself, but questions to the backend are answered on the spot: what is left is roamd's own cost.

python -m tests.bench.answering run -c DIR/roamd.toml
"""

import sys

from roamd import bridge
from roamd.cli import main
from roamd.roaming.ports import AuthorizeQuestion, BackendAnswer

ANSWER = BackendAnswer("ALLOWED", authorization_reference="BENCH-000001")


class AnsweringPort(bridge.BackendPort):
    """Stands where the way to the backend stands; all else of it stays."""

    def ask_authorize(self, question: AuthorizeQuestion, done: bridge.Done) -> None:
        """Allowed."""
        del question
        done(ANSWER)


if __name__ == "__main__":
    bridge.BackendPort = AnsweringPort  # type: ignore[misc]  # before the daemon's parts are imported
    sys.exit(main())
