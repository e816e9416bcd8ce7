"""Rules of the family classes."""
