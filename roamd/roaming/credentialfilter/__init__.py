"""Feed `credential-filter`: our own cards for those who meet them, and theirs to know whom to ask."""
