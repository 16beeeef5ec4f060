"""Both sides of each protocol on the control server: revisions, acknowledgements, limits, halts, reservations, heartbeats."""
