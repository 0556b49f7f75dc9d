"""The Redis schema and the store that reads and writes it."""
