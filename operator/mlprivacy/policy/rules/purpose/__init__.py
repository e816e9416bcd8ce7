"""Rules of the family purpose."""
