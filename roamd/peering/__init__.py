"""Other endpoints: TLS, pairing, links, and one sender per peer."""
