"""`python -m roamd` is `roamd`."""

import sys

from roamd.cli import main

sys.exit(main())
