"""The audit log: hash-chained records, the collector, the verifier."""
