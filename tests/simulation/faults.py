"""Faults that are planted on purpose: each must make the simulation fail, or it would prove nothing."""

from dataclasses import dataclass
from typing import Any

from roamd.daemon.core import Core, Network


@dataclass(frozen=True)
class Faults:
    """No fault: what is planted, a subclass says."""

    def plant(self, core: Core, network: Network) -> Network:
        """Called when a core is almost made, with everything that links use; may change any part of it."""
        return network


HONEST = Faults()
