"""What is wrong with a resource, all of it at once: text, structure, then rules, each naming place, reason and remedy."""
