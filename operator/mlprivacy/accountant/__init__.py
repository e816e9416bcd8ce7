"""Runs the accounting libraries in a process of their own that can be killed; what they compute stands in `budget`."""
