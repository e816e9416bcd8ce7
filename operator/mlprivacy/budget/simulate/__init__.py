"""The simulator: published workloads, run through the schedulers that the controller uses."""
