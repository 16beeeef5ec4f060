"""Cycles: round a ring of assets and back to where it began."""
