"""OKX v5: spot and linear perpetuals."""
