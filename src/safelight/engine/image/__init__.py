"""The way of one claimed image: claim → look back → attempt → keep → complete, each write fenced by the claim token.

`lease` is the claim, `attempt` buys, `remote` asks after a vendor's own jobs, `keep` sees to what was paid for.
`outcome` says what a result means, `moves`, `advance` and `settle` write it down, and `journal` tells the job.
"""
