"""The privacy budget: curves, accounting, ledger, schedulers, planner. Pure: no I/O, no clock, no process."""
