"""What is made from the code and committed: CRDs and reference pages."""
