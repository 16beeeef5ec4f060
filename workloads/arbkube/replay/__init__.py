"""Recordings through the same code as live: sessions, detection, execution, on a clock that only the recording moves."""
