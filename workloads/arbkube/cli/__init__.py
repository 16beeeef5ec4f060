"""`arb`: the command for one machine, and the entry points of the pods."""
