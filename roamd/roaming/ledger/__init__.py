"""The pattern *ledger*: one hash-chained, signed and receipted list per author and receiver (DESIGN section 3)."""
