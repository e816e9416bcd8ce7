"""The real kind, built to prove that kind-config.yaml is one that it takes."""
