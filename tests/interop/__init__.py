"""Foreign OCPI implementations as the backends behind two daemons; run by scripts/ocpi-interop, not by the suite."""
