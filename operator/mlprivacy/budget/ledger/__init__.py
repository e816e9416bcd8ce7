"""The ledger of a subject domain: transitions in a hash chain, and what they add up to. Pure: no client, no clock."""
