"""Holding against each other what two sides have of their records, and putting right what either lost."""
