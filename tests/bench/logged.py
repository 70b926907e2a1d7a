"""What a log line costs: prints the microseconds of one that is written and of one that is filtered.

python -m tests.bench.logged
"""

import os
import sys
import time

from roamd import log

COUNT = 20_000


def main() -> None:
    """Write into the void."""
    with open(os.devnull, "w", encoding="utf-8") as void:
        log.configure("info", void, console=False)
        logger = log.get_logger()
        keys = {
            "peer": "demo-csp", "authorization_id": "0" * 32, "decision": "ALLOWED", "source": "BACKEND",
            "reason": "", "duration_ms": 1.234,
        }  # fmt: skip
        began = time.process_time()
        for _ in range(COUNT):
            logger.info("authorization_allowed", **keys)
        between = time.process_time()
        for _ in range(COUNT):
            logger.debug("authorization_allowed", **keys)
        end = time.process_time()
    sys.stdout.write(f"{(between - began) / COUNT * 1e6} {(end - between) / COUNT * 1e6}\n")


if __name__ == "__main__":
    main()
