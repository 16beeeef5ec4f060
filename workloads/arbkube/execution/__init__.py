"""Intents, legs, journal and brokers: from an opportunity to fills, journal first, each order sent at most once."""
