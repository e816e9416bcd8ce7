"""The decision core: evaluate(job, facts) -> Decision. Pure: no I/O, no clock."""
