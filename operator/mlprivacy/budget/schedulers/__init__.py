"""Schedulers of the privacy budget: which waiting job gets its blocks, and what the others wait for.

`Queue` holds blocks and waiting jobs; a policy (`Fcfs`, `Dpf`, `Dpack`) orders them; an `Unlocking` rule says which
part of a block may be spent yet.
"""
