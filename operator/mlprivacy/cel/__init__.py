"""Runs the CEL expressions of custom rules in a process of their own that can be killed."""
