"""Pinned command-line tools, built once through the Go module proxy and kept; how commands are run and what they say."""
