"""Bybit v5: spot and linear perpetuals."""
