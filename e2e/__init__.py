"""A real cluster, and what is proved in it. Nothing of the product imports from here."""
