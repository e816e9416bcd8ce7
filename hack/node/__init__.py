"""A node with real pods for tests: what runs beside the control plane of hack/controlplane."""
