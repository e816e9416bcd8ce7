"""Rules of the family accountability."""
