"""Rules of the family consent."""
