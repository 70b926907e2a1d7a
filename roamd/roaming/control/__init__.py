"""Commands: what a home-CSP asks a visited-CSO to do, and what comes of it."""
