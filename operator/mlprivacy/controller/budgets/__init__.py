"""The privacy budget in the cluster: a desk for each subject domain, the gate in front of each attempt, the keeping."""
