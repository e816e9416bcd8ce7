"""mlprivacy: privacy policy for machine-learning workloads, decided before they run."""

__version__ = "0.1.0"
