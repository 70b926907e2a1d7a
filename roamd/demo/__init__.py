"""The demo: two daemons as processes, driven by the command and the HTTP API alone, tell the whole story once."""

from roamd.demo.command import main

__all__ = ["main"]
