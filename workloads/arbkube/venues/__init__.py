"""Venue adapters: one folder a venue, each in the venue's own current wire protocol, parsing apart from sockets."""
