"""Who is out there: finders see candidates, the board merges them. Discovery yields addresses, never trust."""
