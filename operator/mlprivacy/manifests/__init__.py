"""Texts that people write: YAML and JSON by kubectl's rules, with the line of every value. Reads no file itself."""
