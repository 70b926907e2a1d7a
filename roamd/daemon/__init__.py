"""The composition root: what the daemon is made of, and in which order it starts and stops."""
