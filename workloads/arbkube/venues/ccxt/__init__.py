"""Every other venue, through ccxt (an extra): watched or polled, with no proof but liveness."""
