"""One machine: a plan as child processes, their servers, the live table and the run's report."""
