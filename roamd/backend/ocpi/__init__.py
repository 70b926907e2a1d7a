"""The OCPI face: the operator's own backend plugs in as into any OCPI platform (see README.md)."""
