"""Resources in; the workloads to run, each one's configuration document, and the limits in force out. Pure."""
