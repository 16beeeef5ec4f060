"""Exchanges that speak the six venues' real market-data protocols, from a seeded price process or a recording, with faults."""
