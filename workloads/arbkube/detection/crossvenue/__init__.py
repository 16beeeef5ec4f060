"""Cross-venue: buy where it is cheap, sell where it is dear."""
