"""What the operator decides: one table of keys, read in layers, faulted all at once."""

from roamd.config.load import load
from roamd.config.schema import Config, StaticCandidate, Webhook
from roamd.config.values import Address, UnixAddress

__all__ = ["Address", "Config", "StaticCandidate", "UnixAddress", "Webhook", "load"]
