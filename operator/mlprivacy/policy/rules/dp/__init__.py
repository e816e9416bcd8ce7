"""Rules of the family dp."""
