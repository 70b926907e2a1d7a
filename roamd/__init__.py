"""roamd: a roaming endpoint for electric-car charging, IEC 63119-1 in bilateral mode."""

__version__ = "0.1.0"
