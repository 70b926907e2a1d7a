"""`roamd reload`: read the configuration anew, use of it what needs no restart, and say what does.

A file with a fault changes nothing; links stay up in any case.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roamd import log as logging
from roamd import metrics
from roamd.config.load import load
from roamd.config.schema import Config, restart_needed
from roamd.errors import ConfigError
from roamd.log import get_logger
from roamd.protocol.heartbeat import Timing
from roamd.roaming.authorization.visited import VisitedAuthorization

if TYPE_CHECKING:
    from roamd.daemon.assembly import Assembly

log = get_logger()


@dataclass(slots=True)
class Reloader:
    """Applies a new configuration. `listeners` are told of it (the API's side applies what is its own)."""

    assembly: "Assembly"
    visited: VisitedAuthorization
    listeners: list[Callable[[Config], None]] = field(default_factory=list)
    started: Config = field(init=False)
    """What the process was started with: what needs a restart is still as it says, whatever was read since."""

    def __post_init__(self) -> None:
        self.started = self.assembly.config

    async def reload(self) -> dict[str, Any]:
        """{restart_needed: [keys]}; raises ConfigError with every fault, and then nothing has changed."""
        try:
            new = load(self.started.path, os.environ)
        except ConfigError:
            metrics.reloads.labels("refused").inc()
            raise
        waiting = restart_needed(self.started, new)
        self._apply(new)
        metrics.reloads.labels("applied").inc()
        log.info("configuration_reloaded", restart_needed=list(waiting))
        return {"restart_needed": list(waiting)}

    def _apply(self, config: Config) -> None:
        self.assembly.config = config
        logging.configure(config.log.level)
        self.assembly.core.maker.timing = Timing(heartbeat_s=config.link.heartbeat_s)
        self.assembly.peering.cap_s = config.link.backoff_s
        self.visited.whitelist_offline = config.authorization.without_answer == "whitelist"
        self.visited.patience_ms = config.authorization.patience_ms
        self.visited.stagger_ms = config.authorization.stagger_ms
        self.assembly.core.unknown.usual_per_minute = config.authorization.unknown_cards_per_minute
        for listener in self.listeners:
            listener(config)
