"""`python -m tests.simulation`. The command stands beside it, because worker processes cannot import a `__main__`."""

import sys

from tests.simulation.command import main

if __name__ == "__main__":
    sys.exit(main())
