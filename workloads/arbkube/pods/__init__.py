"""The processes: feed, detector, executor, recorder, simulator. Thin I/O shells around the pure packages."""
