"""What a session costs by its tariff, and whether a record says the same: pure functions over checked bodies.

`tariff` reads tariffs of both OCPI versions, `usage` reads what a CDR says was used, `cuts` cuts that where the price
changes, `engine` prices it line by line, and `check` holds a record against the outcome.
"""
