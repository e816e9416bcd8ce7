"""Rules of the family pod."""
