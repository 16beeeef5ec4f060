"""A kind cluster: with the public node image where images can be pulled, else with one built on this machine."""
