"""How fast roamd is, measured beside what else could do its job: `scripts/bench`.

Read it in this order: `rows` is the table that is printed, one row a figure with its target and its yardstick;
`probes` names what is measured; each `*_probes` module holds some of them. A probe gets a `Stage`, which owns the
processes (the companies' daemons, the OCPI pair, the bare loops) and makes each when it is first asked for.
Every probe runs once a round, round after round, so that roamd and its yardsticks see the same weather; what is shown
is the median of the rounds.

Rates and latencies are those of a shared machine and swing; CPU seconds per 1,000 and ratios hold.
"""
