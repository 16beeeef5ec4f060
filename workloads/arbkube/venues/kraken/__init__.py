"""Kraken: spot, WebSocket v2."""
