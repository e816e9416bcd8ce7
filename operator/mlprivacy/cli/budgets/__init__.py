"""What people see and do with the privacy budgets of a cluster: `mlprivacy budget`."""
