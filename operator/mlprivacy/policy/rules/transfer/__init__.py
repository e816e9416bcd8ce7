"""Rules of the family transfer."""
